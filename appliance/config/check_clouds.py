"""Rules about providers: where they may be, whose key is used for what, which models they can be targets of. Pure."""

from collections.abc import Iterator

from appliance.config.check import Finding, any_of, url_mistake
from appliance.config.locate import ConfigPath, dotted
from appliance.config.schema import Config, Key, Model, Provider
from appliance.domain.calls import KINDS
from appliance.domain.engines import ENGINES
from appliance.domain.providers import PROVIDERS


def check_clouds(config: Config) -> Iterator[Finding]:
    """Everything that is wrong with the providers of a configuration whose types are right."""
    seen: dict[str, int] = {}
    taken = {row.name for row in config.runtimes} | {row.name for row in config.backends}
    for index, provider in enumerate(config.providers):
        path: ConfigPath = ("providers", index)
        if provider.name in seen:
            what = f"`{dotted(path)}.name`: providers[{seen[provider.name]}] is {provider.name} already"
            yield Finding((*path, "name"), what, "keep one of them")
        seen.setdefault(provider.name, index)
        if provider.name in taken:
            what = f'`{dotted(path)}.name`: a runtime or backend is called "{provider.name}" as well'
            yield Finding((*path, "name"), what, "rename that one")
        yield from _provider(provider, path)
    for index, key in enumerate(config.keys):
        yield from _key(key, ("keys", index), set(seen))
    for index, model in enumerate(config.models):
        yield from _model(model, ("models", index), config)


def _provider(provider: Provider, path: ConfigPath) -> Iterator[Finding]:
    here = dotted(path)
    if provider.url:
        fix = 'write its root, for instance "https://llm.example.com", or remove the line for the provider\'s own'
        wrong = url_mistake(provider.url)
        if not wrong:
            address = PROVIDERS[provider.name].address(provider.url)
            if address.scheme != "https" and not address.on_this_box:
                wrong = "must start with https://: keys and prompts would cross the network in the clear"
        if wrong:
            yield Finding((*path, "url"), f"`{here}.url` {wrong}", fix)
    if provider.proxy and (wrong := url_mistake(provider.proxy)):
        yield Finding((*path, "proxy"), f"`{here}.proxy` {wrong}", 'write for instance "http://proxy.lan:3128"')
    if provider.key_env and provider.key_file:
        what = f"`{here}` has both `key_env` and `key_file`"
        yield Finding((*path, "key_file"), what, "keep the one that holds the owner's key")
    if provider.max_connections <= 0:
        what = f"`{here}.max_connections` must be more than 0"
        yield Finding((*path, "max_connections"), what, "raise it, or remove the line for the default")


def _key(key: Key, path: ConfigPath, providers: set[str]) -> Iterator[Finding]:
    for name, file in key.provider_keys.items():
        spot = (*path, "provider_keys", name)
        if name not in providers:
            fix = f"use one of them: {any_of(sorted(providers))}" if providers else "add a [[providers]] entry"
            yield Finding(spot, f'`{dotted(path)}.provider_keys`: "{name}" is not a provider that is listed', fix)
        elif not file:
            yield Finding(spot, f"`{dotted(path)}.provider_keys.{name}` names no file", "write the path of one")
        elif key.local_only:
            what = f"`{dotted(path)}.provider_keys`: the key is `local_only`, so it never asks a provider"
            yield Finding(spot, what, "remove one of the two")


def _model(model: Model, path: ConfigPath, config: Config) -> Iterator[Finding]:
    providers: dict[str, Provider] = {provider.name: provider for provider in config.providers}
    backends = {backend.name for backend in config.backends}
    for index, target in enumerate(model.targets):
        spot = (*path, "targets", index)
        name, slash, theirs = target.partition("/")
        if not slash or name not in PROVIDERS or name in backends:
            continue
        provider = providers.get(name)
        if provider is None or not theirs:
            fix = f'add a [[providers]] entry with name = "{name}" and its key, and name a model: "{name}/…"'
            yield Finding(spot, f'`{dotted(spot)}`: "{target}" is not a model of a provider that is listed', fix)
            continue
        if not (provider.key_env or provider.key_file):
            what = f"`{dotted(spot)}`: [[providers]] has no key of yours for {provider.name}"
            yield Finding(spot, what, "add `key_file` or `key_env` to its section; a caller's own key needs no target")
        if not KINDS.get(model.kind, frozenset()) & ENGINES[PROVIDERS[provider.name].engine].operations and model.kind:
            what = f'`{dotted(spot)}`: {provider.name} has no models of the kind "{model.kind}" that can be used here'
            yield Finding(spot, what, "remove the target, or correct `kind`")
