"""Rules that need more than one setting, and settings whose feature is not in this version.

Pure: nothing here looks at files, the network or the environment. Texts never repeat a value that could be a
credential.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

import msgspec

from appliance.config.changes import mistakes_in_changes
from appliance.config.locate import ConfigPath, dotted
from appliance.config.owned import own_flag, own_variable
from appliance.config.schema import Backend, Config, Key, Model, Runtime, Section, Server
from appliance.domain.calls import KINDS
from appliance.domain.providers import PROVIDERS
from appliance.domain.targets import Address

_NAME = re.compile(r"[A-Za-z0-9._:@+-]{1,200}")
_RUNTIME_NAME = re.compile(r"[A-Za-z0-9._:+-]{1,200}")  # "@" is kept for replicas: "name@2"
_MODEL_NAME = re.compile(r"[A-Za-z0-9._:@+/-]{1,200}")
_NAMES = {"runtimes": (_RUNTIME_NAME, ". _ : + -"), "models": (_MODEL_NAME, ". _ : @ + - /")}
_OWN_CALLER = re.compile(r"env-[0-9]+|anonymous")  # callers without an entry: `access.keys` names them so
_PREFIX = re.compile(r"[A-Za-z0-9_-]{0,20}")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_URL_PATH = re.compile(r"/[!-~]*")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")  # narrow, so that JSON in an argument is not taken for one
_PLACEHOLDERS = ("socket", "host", "port", "model", "gpus")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_POSITIVE_SERVER = (
    "max_body",
    "max_head",
    "max_headers",
    "head_timeout",
    "idle_timeout",
    "body_timeout",
    "write_stall",
    "load_queue",
    "queue_wait",
    "probe_interval",
)
_POSITIVE_LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent", "tokens_per_day", "tokens_per_month")
_POSITIVE_RUNTIME = ("context", "slots", "load_stall", "load_limit", "replicas", "idle_stop")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a setting.

    Attributes:
        path: which setting.
        what: what is wrong.
        fix: what to do.
    """

    path: ConfigPath
    what: str
    fix: str


def check(config: Config, *, has_environment_keys: bool) -> list[Finding]:
    """Everything that is wrong with a configuration whose types are right.

    Args:
        config: what `load.parse` built.
        has_environment_keys: API_KEYS in the environment holds at least one key.
    """
    return [
        *_not_built(config, ()),
        *_server(config.server, has_keys=has_environment_keys or bool(config.keys)),
        *_names(config),
        *_hashes(config.keys),
        *_callers(config.keys),
        *_default(config.models),
        *_positive(config.events, ("events",), ("max_count",)),
        *(found for index, row in enumerate(config.runtimes) for found in _runtime(row, ("runtimes", index))),
        *(found for index, row in enumerate(config.backends) for found in _backend(row, ("backends", index))),
        *(found for index, row in enumerate(config.models) for found in _model(row, ("models", index), config)),
    ]


def split_listen(text: str) -> tuple[str, int]:
    """Host and port of `server.listen`; an IPv6 address loses its brackets.

    Raises:
        ValueError: it is not "host:port".
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise ValueError('must be "host:port"')
    if match[1]:
        IPv6Address(match[1])  # its AddressValueError is a ValueError
    return match[1] or match[2], int(match[3])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host`; a name other than localhost counts as reachable."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The one of `words` that was probably meant."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1)), None)


def any_of(words: Iterable[str]) -> str:
    """`"a", "b" or "c"`."""
    *most, last = [f'"{word}"' for word in words]
    return f"{', '.join(most)} or {last}" if most else last


def _not_built(section: Section, path: ConfigPath) -> Iterator[Finding]:
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.encode_name)
        here = (*path, field.encode_name)
        if is_later(field):
            if value != field.default:
                yield Finding(here, f"`{dotted(here)}` is not in this version", "remove it")
        elif isinstance(value, Section):
            yield from _not_built(value, here)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Section):
                    yield from _not_built(item, (*here, index))


def is_later(field: msgspec.structs.FieldInfo) -> bool:
    """Whether the feature behind a setting is not built yet."""
    notes = getattr(field.type, "__metadata__", ())
    return any(isinstance(note, msgspec.Meta) and (note.extra or {}).get("later", False) for note in notes)


def _server(server: Server, *, has_keys: bool) -> Iterator[Finding]:
    path: ConfigPath = ("server", "listen")
    try:
        host, _ = split_listen(server.listen)
    except ValueError:
        fix = 'write "127.0.0.1:8000", "0.0.0.0:8000", "[::]:8000" or "name:8000"'
        yield Finding(path, '`server.listen` must be "host:port"', fix)
    else:
        if not is_loopback(host) and not has_keys and server.auth != "open":
            yield Finding(
                path,
                f"`server.listen` is reachable from other machines ({server.listen}) and there are no keys",
                "to allow it, add a [[keys]] entry, set API_KEYS in the environment, "
                'or write auth = "open" in [server] to serve anyone',
            )
    if not _PREFIX.fullmatch(server.key_prefix):
        fix = 'use at most 20 letters, digits, "_" and "-"'
        yield Finding(("server", "key_prefix"), "`server.key_prefix` holds what a key may not begin with", fix)
    if not server.state_dir:
        yield Finding(("server", "state_dir"), "`server.state_dir` is empty", "name a directory, or remove the line")
    yield from _positive(server, ("server",), _POSITIVE_SERVER)


def _positive(section: Section, path: ConfigPath, names: Iterable[str]) -> Iterator[Finding]:
    for name in names:
        value = getattr(section, name)
        if value is not None and value <= 0:
            here = (*path, name)
            yield Finding(here, f"`{dotted(here)}` must be more than 0", "raise it, or remove the line for the default")


def _names(config: Config) -> Iterator[Finding]:
    lists: tuple[tuple[str, tuple[Runtime | Backend | Model | Key, ...]], ...] = (
        ("runtimes", config.runtimes),
        ("backends", config.backends),
        ("models", config.models),
        ("keys", config.keys),
    )
    for section, rows in lists:
        pattern, signs = _NAMES.get(section, (_NAME, ". _ : @ + -"))
        seen: dict[str, int] = {}
        for index, row in enumerate(rows):
            path = (section, index, "name")
            if not pattern.fullmatch(row.name):
                fix = f"use 1 to 200 of: letters, digits, {signs}"
                yield Finding(path, f"`{dotted(path)}` holds a character that a name may not have, or is empty", fix)
            elif row.name in seen:
                what = f'`{dotted(path)}`: "{row.name}" is taken by {section}[{seen[row.name]}]'
                yield Finding(path, what, "rename one of them")
            seen.setdefault(row.name, index)
    runtimes = {row.name: index for index, row in enumerate(config.runtimes)}
    for index, row in enumerate(config.backends):
        if row.name in runtimes:
            path = ("backends", index, "name")
            what = f'`{dotted(path)}`: "{row.name}" is taken by runtimes[{runtimes[row.name]}]'
            yield Finding(path, what, "rename one of them")


def _hashes(keys: tuple[Key, ...]) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, key in enumerate(keys):
        path = ("keys", index, "hash")
        if not _HASH.fullmatch(key.hash):
            what = f'`{dotted(path)}` must be "sha256:" and 64 lower-case hex digits'
            yield Finding(path, what, "put the hash there, not the key; `appliance keys create NAME --print` makes one")
        elif key.hash in seen:
            yield Finding(path, f"`{dotted(path)}` is the key of keys[{seen[key.hash]}] too", "give each its own key")
        seen.setdefault(key.hash, index)


def _callers(keys: tuple[Key, ...]) -> Iterator[Finding]:
    for index, key in enumerate(keys):
        path: ConfigPath = ("keys", index)
        if _OWN_CALLER.fullmatch(key.name):  # it would share its limits and its place in the log with that caller
            what = f'`{dotted(path)}.name`: "{key.name}" is how the appliance calls a caller without a [[keys]] entry'
            yield Finding((*path, "name"), what, "rename it")
        if key.limits is not None:
            yield from _positive(key.limits, (*path, "limits"), _POSITIVE_LIMITS)


def _default(models: tuple[Model, ...]) -> Iterator[Finding]:
    first, *others = [index for index, model in enumerate(models) if model.default] or [0]
    for index in others:
        path = ("models", index, "default")
        yield Finding(path, f"`{dotted(path)}`: models[{first}] is the default already", "keep one of them")


def _runtime(runtime: Runtime, path: ConfigPath) -> Iterator[Finding]:
    here = dotted(path)
    if runtime.engine == "command":
        yield from _command(runtime, path)
    else:
        yield from _engine(runtime, path)
    for name in runtime.env:
        spot = (*path, "env", name)
        if not _VARIABLE.fullmatch(name):
            yield Finding(spot, f"`{here}.env` has a name that no variable can have", "use letters, digits and _")
        elif own_variable(name):
            fix = "use `gpus`" if "_DEVICE" in name else "remove it"
            yield Finding(spot, f"`{here}.env`: {name} is set by the appliance", fix)
    if not runtime.kinds:
        fix = f"list what the model can do: {any_of(KINDS)}"
        yield Finding((*path, "kinds"), f"`{here}.kinds` is empty, so no request could use it", fix)
    if not _URL_PATH.fullmatch(runtime.health):
        fix = 'write a path such as "/health"'
        yield Finding((*path, "health"), f'`{here}.health` must start with "/" and hold no spaces', fix)
    if runtime.sleep and runtime.engine != "vllm":
        yield Finding((*path, "sleep"), f"`{here}.sleep` works with vLLM only", "remove it; `idle_stop` alone stops it")
    if any(index < 0 for index in runtime.gpus or ()) or len(set(runtime.gpus or ())) < len(runtime.gpus or ()):
        yield Finding((*path, "gpus"), f"`{here}.gpus` names a GPU twice or below 0", "list each index once")
    yield from _positive(runtime, path, _POSITIVE_RUNTIME)


def _engine(runtime: Runtime, path: ConfigPath) -> Iterator[Finding]:
    here = dotted(path)
    if not runtime.model:
        noun, example = ("file", "/path/to/model.gguf") if runtime.engine == "llama.cpp" else ("directory", "/path")
        what = f"`{here}.model` is missing: {runtime.engine} needs a model {noun}"
        yield Finding((*path, "model"), what, f'write model = "{example}"')
    for name in ("command", "health"):
        if getattr(runtime, name) != getattr(_PLAIN, name):
            fix = 'remove it, or write engine = "command"'
            yield Finding((*path, name), f'`{here}.{name}` has a meaning for engine = "command" only', fix)
    for index, argument in enumerate(runtime.args):
        if flag := own_flag(runtime.engine, argument):
            spot = (*path, "args", index)
            yield Finding(spot, f"`{dotted(spot)}`: {flag} is set by the appliance", "remove it and its value")


_PLAIN = Runtime(name="", engine="llama.cpp")


def _command(runtime: Runtime, path: ConfigPath) -> Iterator[Finding]:
    here = dotted(path)
    if runtime.binary:
        what = f'`{here}.binary` has no meaning for engine = "command"'
        yield Finding((*path, "binary"), what, "make the program the first item of `command`")
    spot = (*path, "command")
    if not runtime.command or not runtime.command[0]:
        fix = 'write command = ["program", "--port", "{port}"]'
        yield Finding(spot, f'`{here}.command` is missing: engine = "command" needs a command line', fix)
        return
    used: set[str] = set()
    for index, argument in enumerate(runtime.command):
        for name in _PLACEHOLDER.findall(argument):
            used.add(name)
            if name not in _PLACEHOLDERS:
                meant = nearest(name, _PLACEHOLDERS)
                known = " ".join(f"{{{word}}}" for word in _PLACEHOLDERS)
                fix = f"did you mean {{{meant}}}?" if meant else f"the known ones are {known}"
                yield Finding((*spot, index), f"`{dotted((*spot, index))}`: {{{name}}} is not a placeholder", fix)
    if not used & {"socket", "port"}:
        what = f"`{here}.command` does not say where to listen"
        yield Finding(spot, what, "pass {port} (with {host}) or {socket} to the program")
    if "model" in used and not runtime.model:
        yield Finding((*path, "model"), f"`{here}.model` is missing: the command uses {{model}}", "set it")
    for index, argument in enumerate(runtime.args):
        if used_here := set(_PLACEHOLDER.findall(argument)) & set(_PLACEHOLDERS):
            spot = (*path, "args", index)
            what = f"`{dotted(spot)}`: {{{min(used_here)}}} is replaced in `command` only"
            yield Finding(spot, what, "move the argument to `command`")


def _backend(backend: Backend, path: ConfigPath) -> Iterator[Finding]:
    here = dotted(path)
    wrong = url_mistake(backend.url)
    if wrong:
        fix = 'write its root, for instance "http://127.0.0.1:8080"'
        yield Finding((*path, "url"), f"`{here}.url` {wrong}", fix)
    if backend.key_env and backend.key_file:
        what = f"`{here}` has both `key_env` and `key_file`"
        yield Finding((*path, "key_file"), what, "keep the one that holds the credential")
    yield from _positive(backend, path, ("max_connections",))


def url_mistake(url: str) -> str:
    """What is wrong with a URL, in words that go after its name; empty when nothing is."""
    if re.search(r"[^!-~]", url):
        return "holds a space or a character outside ASCII"
    try:
        Address.from_url(url)
    except ValueError as error:
        words = str(error)
        # What the standard library says repeats part of the text, which may be a mistyped credential.
        return words if words.startswith(("must", "names")) else "is not a valid URL"
    return ""


def _model(model: Model, path: ConfigPath, config: Config) -> Iterator[Finding]:
    here = dotted(path)
    if model.limits is not None:
        yield from _positive(model.limits, (*path, "limits"), _POSITIVE_LIMITS)
    if model.kind and model.kind not in KINDS:
        meant = nearest(model.kind, KINDS)
        fix = f'did you mean "{meant}"?' if meant else "write one of them, or remove the line to skip the check"
        yield Finding((*path, "kind"), f"`{here}.kind` must be {any_of(KINDS)}", fix)
    yield from (Finding((*path, *spot), *words) for spot, *words in mistakes_in_changes(model, here))
    if not model.targets:
        fix = 'list a runtime\'s name, "backend/model" or "provider/model"'
        yield Finding((*path, "targets"), f"`{here}.targets` is empty", fix)
    runtimes = {row.name: row for row in config.runtimes}
    if model.balance == "prefix" and not runtimes.keys() & set(model.targets):
        what = f"`{here}.balance` has a meaning for runtimes only: they have replicas to choose from"
        yield Finding((*path, "balance"), what, "remove it, or list a runtime in `targets`")
    for index, target in enumerate(model.targets):
        spot = (*path, "targets", index)
        runtime = runtimes.get(target)
        if runtime is None:
            yield from _backend_target(target, spot, config)
        elif not _can(runtime, model.kind):
            able = any_of(runtime.kinds) if runtime.kinds else "nothing"
            what = f'`{dotted(spot)}`: runtime "{target}" offers {able}, not "{model.kind}"'
            yield Finding(spot, what, f'add "{model.kind}" to the runtime\'s `kinds` or remove the target')


def _can(runtime: Runtime, kind: str) -> bool:
    offered = frozenset().union(*(KINDS[name] for name in runtime.kinds))
    return KINDS.get(kind, frozenset()) <= offered


def _backend_target(target: str, path: ConfigPath, config: Config) -> Iterator[Finding]:
    runtimes, backends = [row.name for row in config.runtimes], [row.name for row in config.backends]
    backend, slash, model = target.partition("/")
    if model if backend in backends else slash and backend in PROVIDERS:  # `check_clouds` looks at a provider's
        return
    if backend in backends:
        what = f'`{dotted(path)}`: "{backend}" is a backend and no model of it is named'
        yield Finding(path, what, f'write "{backend}/" and the name that the backend lists')
        return
    noun, names = ("backend", backends) if slash else ("runtime", runtimes)
    meant = nearest(backend, names) or nearest(backend, runtimes + backends)
    fix = f'did you mean "{meant}{slash}{model}"?' if meant in names else f'did you mean "{meant}/…"?'
    if meant is None:
        fix = f"use the name of a {noun}: {any_of(names)}" if names else f"there is no [[{noun}s]] entry; add one"
    elif slash and meant in runtimes:
        fix = f'did you mean the runtime "{meant}"?'
    yield Finding(path, f'`{dotted(path)}`: there is no {noun} "{backend}"', fix)


def printable(text: str) -> str:
    """Words that may repeat a part of the file, made safe for a terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)
