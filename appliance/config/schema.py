"""Every setting of the configuration file: its name, type, default, unit and meaning.

A default lives here and nowhere else. `Annotated[..., Doc("…")]` is the meaning that `docs/configuration.md` must
carry; `later=True` marks a setting that parses but whose feature is not built yet: `check` refuses it.
"""

from typing import Annotated, Any, Literal

import msgspec

from appliance.config.units import Moment, Seconds, Size


def Doc(meaning: str, *, later: bool = False) -> msgspec.Meta:  # noqa: N802 - reads as an annotation
    """One line about a setting, kept beside its type."""
    return msgspec.Meta(extra={"doc": meaning, "later": later})


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Tls(Section, frozen=True):
    """A certificate and its key, as PEM files."""

    cert: Annotated[str, Doc("certificate chain, PEM file")]
    key: Annotated[str, Doc("private key, PEM file")]


class Server(Section, frozen=True):
    """How the appliance itself listens and behaves."""

    listen: Annotated[str, Doc("address and port to listen on")] = "127.0.0.1:8000"
    auth: Annotated[
        Literal["keys", "open"], Doc('"open" serves anyone without a key; needed to listen off loopback without keys')
    ] = "keys"
    tls: Annotated[
        str | Tls | tuple[Tls, ...],
        Doc('"off", "internal", { cert, key }, or a list of these from which a host name chooses'),
    ] = "off"
    http2: Annotated[bool, Doc("offer HTTP/2 beside HTTP/1.1; needs TLS")] = False
    names: Annotated[
        tuple[str, ...], Doc("host names we answer to beside our own; in the certificate of an internal authority")
    ] = ()
    key_prefix: Annotated[str, Doc("what keys that `appliance keys create` makes begin with")] = "sk-"
    state_dir: Annotated[
        str,
        Doc(
            "logs, sockets and records, for the appliance's user alone: created with parents, mode 0700. One that is "
            "open to others gets that mode with a warning; one that holds other things too is refused"
        ),
    ] = "/var/lib/appliance"
    drain: Annotated[Seconds, Doc("how long streams may finish when the appliance or their model is told to stop")] = (
        Seconds(30)
    )
    max_body: Annotated[Size, Doc("largest request body")] = Size(32 * 2**20)
    max_head: Annotated[Size, Doc("largest request line and headers")] = Size(64 * 2**10)
    max_headers: Annotated[int, Doc("most header lines of a request")] = 100
    max_connections: Annotated[
        int, Doc("most client connections; 0 is what the limit of open files allows, less 64")
    ] = 0
    connections_per_address: Annotated[
        int, Doc("most connections of one client address; 0 is no limit, since a NAT or a proxy is one address")
    ] = 0
    head_timeout: Annotated[Seconds, Doc("a request's head must arrive within this")] = Seconds(10)
    idle_timeout: Annotated[Seconds, Doc("how long an idle client connection is kept")] = Seconds(75)
    body_timeout: Annotated[Seconds, Doc("a request's body must arrive within this")] = Seconds(60)
    connect_timeout: Annotated[Seconds, Doc("connecting to a model server; 0 is off")] = Seconds(5)
    first_byte_timeout: Annotated[Seconds, Doc("from sending a request to the first byte of the answer; 0 is off")] = (
        Seconds(600)
    )
    between_bytes_timeout: Annotated[Seconds, Doc("longest silence inside an answer; 0 is off")] = Seconds(120)
    total_timeout: Annotated[Seconds, Doc("a whole exchange; 0 is off")] = Seconds(0)
    write_stall: Annotated[Seconds, Doc("a client that takes no byte for this long is cut")] = Seconds(30)
    load_wait: Annotated[Seconds, Doc("how long a request may wait for its model to load")] = Seconds(120)
    residence: Annotated[
        Seconds, Doc("a model that has just loaded stays at least this long before it makes room for another")
    ] = Seconds(30)
    make_room: Annotated[
        Seconds,
        Doc("how long the streams of a model that makes room for another may go on; 0 never ends them"),
    ] = Seconds(600)
    load_queue: Annotated[int, Doc("how many requests may wait for one loading model")] = 256
    queue: Annotated[int, Doc("how many requests may wait for a free slot of one runtime")] = 256
    queue_wait: Annotated[Seconds, Doc("how long a request may wait for a free slot")] = Seconds(120)
    queue_keepalive: Annotated[
        bool, Doc("answer a stream that has to wait with 200 at once and keep it alive; its errors are events then")
    ] = False
    circuit_failures: Annotated[
        int, Doc("failures in a row after which a target is left alone for some seconds; 0 never does")
    ] = 5
    gpu_file: Annotated[str, Doc("JSON file that stands for the GPU driver; for tests and other kinds of GPU")] = ""
    probe_interval: Annotated[Seconds, Doc("time between two health probes of a target")] = Seconds(5)
    gateway_headers: Annotated[
        bool,
        Doc("answers say in `x-gateway-` headers which model, target and replica served them, and how long it took"),
    ] = True
    edit: Annotated[
        Literal["off", "models", "all"],
        Doc(
            "what the console and keys with the scope `admin` may change in this file over the network: nothing, "
            "`[[models]]`, or everything, which includes what programs are run"
        ),
    ] = "models"
    log_format: Annotated[Literal["auto", "json", "text"], Doc('"auto" is text on a terminal and JSON elsewhere')] = (
        "auto"
    )


class Limits(Section, frozen=True):
    """What one key may use, or all keys together of one model; absent means unlimited."""

    requests_per_minute: Annotated[int | None, Doc("requests a minute")] = None
    tokens_per_minute: Annotated[int | None, Doc("tokens a minute, input and output")] = None
    concurrent: Annotated[int | None, Doc("requests at once")] = None
    tokens_per_day: Annotated[int | None, Doc("tokens a day, which begins at 00:00 UTC")] = None
    tokens_per_month: Annotated[int | None, Doc("tokens a month, which begins on its first day at 00:00 UTC")] = None


class Parameters(Section, frozen=True):
    """How much of what can hurt an engine a request may ask for."""

    most_choices: Annotated[int, Doc("most answers to one request (`n`, `best_of`)")] = 8
    most_logprobs: Annotated[int, Doc("most probabilities for each token (`logprobs`, `top_logprobs`)")] = 20
    most_stops: Annotated[int, Doc("most entries of `stop` and lists like it")] = 16
    most_tools: Annotated[int, Doc("most tools")] = 128
    schema_size: Annotated[Size, Doc("largest JSON schema, or all tools together")] = Size(256 * 2**10)
    schema_depth: Annotated[int, Doc("how deep a schema or a tool may be nested")] = 48
    remote_media: Annotated[bool, Doc("images and the like may be http and https URLs, which the engine fetches")] = (
        False
    )
    allow: Annotated[tuple[str, ...], Doc("fields that are let pass, such as `grammar`")] = ()


class KeyParameters(Section, frozen=True):
    """What is different for one key; absent is as for all."""

    most_choices: Annotated[int | None, Doc("most answers to one request")] = None
    most_logprobs: Annotated[int | None, Doc("most probabilities for each token")] = None
    most_stops: Annotated[int | None, Doc("most entries of `stop` and lists like it")] = None
    most_tools: Annotated[int | None, Doc("most tools")] = None
    schema_size: Annotated[Size | None, Doc("largest JSON schema, or all tools together")] = None
    schema_depth: Annotated[int | None, Doc("how deep a schema or a tool may be nested")] = None
    remote_media: Annotated[bool | None, Doc("images and the like may be http and https URLs")] = None
    allow: Annotated[tuple[str, ...], Doc("fields that are let pass, beside those of all")] = ()


class Key(Section, frozen=True):
    """A client credential; the file holds its hash only."""

    name: Annotated[str, Doc("shown in logs and metrics")]
    hash: Annotated[str, Doc('"sha256:" and the hex SHA-256 of the key')]
    scopes: Annotated[tuple[Literal["infer", "metrics", "admin"], ...], Doc("what the key may do")] = ("infer",)
    models: Annotated[tuple[str, ...], Doc('models it may use; "*" stands for any run of characters')] = ("*",)
    limits: Annotated[Limits | None, Doc("what it may use")] = None
    expires: Annotated[Moment | None, Doc("from then on it is refused; absent never is")] = None
    tags: Annotated[tuple[str, ...], Doc("your own words about it, such as a team or a project")] = ()
    local_only: Annotated[
        bool, Doc("its requests never leave the box: no provider, and no backend on another machine")
    ] = False
    weight: Annotated[int, Doc("its share of the tokens where others wait too, beside a key of weight 1")] = 1
    parameters: Annotated[KeyParameters | None, Doc("fields of requests, where it may use more than all")] = None
    priority: Annotated[int, Doc("where requests wait, those of keys with a higher one go first")] = 0
    provider_keys: Annotated[
        dict[str, str], Doc("files that hold its own keys for providers, used where a request brings none; by provider")
    ] = {}


class Runtime(Section, frozen=True):
    """A model server process that the appliance launches and looks after."""

    name: Annotated[str, Doc("unique; the public model name unless [[models]] says otherwise")]
    engine: Annotated[Literal["vllm", "llama.cpp", "command"], Doc("what to launch")]
    model: Annotated[str, Doc("model file or directory; {model} of a command")] = ""
    args: Annotated[tuple[str, ...], Doc("extra arguments; they come last and win")] = ()
    env: Annotated[dict[str, str], Doc("environment variables for the process; their values are not shown")] = {}
    binary: Annotated[str, Doc("the engine's program; else it is looked for on the path")] = ""
    command: Annotated[
        tuple[str, ...], Doc('engine = "command": the command line; {socket} {host} {port} {model} {gpus}')
    ] = ()
    health: Annotated[str, Doc('engine = "command": path that answers 200 when ready')] = "/health"
    kinds: Annotated[
        tuple[
            Literal[
                "chat",
                "completion",
                "embedding",
                "rerank",
                "transcription",
                "speech",
                "audio",
                "realtime",
                "moderation",
                "image",
            ],
            ...,
        ],
        Doc("what the model can do; audio is transcription and speech"),
    ] = ("chat",)
    context: Annotated[
        int | None, Doc("tokens that one request may have, input and output; absent leaves it to the engine")
    ] = None
    slots: Annotated[int | None, Doc("parallel requests; absent leaves it to the engine")] = None
    start: Annotated[Literal["boot", "on-demand"], Doc("when to start it")] = "boot"
    stop_grace: Annotated[Seconds, Doc("time between TERM and KILL")] = Seconds(10)
    load_stall: Annotated[Seconds, Doc("a start without any progress for this long is given up")] = Seconds(300)
    load_limit: Annotated[Seconds, Doc("a start longer than this is given up")] = Seconds(3600)
    gpus: Annotated[tuple[int, ...] | None, Doc("GPUs to use, by index; absent chooses one with room")] = None
    memory: Annotated[
        Size | None, Doc("GPU memory that it needs on each of its GPUs; absent learns it from its first start")
    ] = None
    idle_stop: Annotated[Seconds | None, Doc("stop it when idle for this long; absent never does")] = None
    replicas: Annotated[int, Doc("number of processes; requests go to the least busy one")] = 1
    exclusive: Annotated[str, Doc("name of a group of runtimes of which only one is loaded at a time")] = ""
    priority: Annotated[int, Doc("higher ones load first, and never make room for lower ones")] = 0
    pinned: Annotated[bool, Doc("never makes room for another")] = False
    preload: Annotated[bool, Doc("with start on-demand: loaded as soon as there is room anyway")] = False
    sleep: Annotated[
        Literal[0, 1, 2],
        Doc("vLLM: instead of an idle stop, sleep at this level and give the GPU memory back; 0 is off"),
    ] = 0
    canary: Annotated[
        bool | None, Doc("ask for one token before it counts as ready; absent does so for vllm and llama.cpp")
    ] = None
    stall_limit: Annotated[Seconds, Doc("requests run and no token moves for this long: it is restarted; 0 is off")] = (
        Seconds(120)
    )
    dead_limit: Annotated[
        Seconds, Doc("its health fails and nothing moves for this long: it is restarted; 0 is off")
    ] = Seconds(30)


class Backend(Section, frozen=True):
    """A model server that somebody else runs."""

    name: Annotated[str, Doc("unique; targets are written name/model")]
    engine: Annotated[
        Literal["openai", "vllm", "llama.cpp", "sglang", "tgi", "ollama", "localai"], Doc("which server it is")
    ]
    url: Annotated[str, Doc("its root, or ending in /v1")]
    key_env: Annotated[str, Doc("environment variable that holds its credential")] = ""
    key_file: Annotated[str, Doc("file that holds its credential")] = ""
    max_connections: Annotated[int, Doc("most connections at once; more requests wait")] = 4096


class Provider(Section, frozen=True):
    """A cloud API that may be asked."""

    name: Annotated[Literal["openai", "anthropic", "gemini"], Doc("which provider; targets are written name/model")]
    url: Annotated[str, Doc("a private endpoint that speaks its API; absent is the provider's own")] = ""
    proxy: Annotated[
        str, Doc('HTTP proxy that leads to it, such as "http://proxy.lan:3128"; those of the environment are not used')
    ] = ""
    key_env: Annotated[str, Doc("environment variable that holds the owner's key, for targets of [[models]]")] = ""
    key_file: Annotated[str, Doc("file that holds the owner's key, for targets of [[models]]")] = ""
    max_connections: Annotated[int, Doc("most connections at once; more requests wait")] = 1024


class Model(Section, frozen=True):
    """A public name and what stands behind it."""

    name: Annotated[str, Doc("what clients ask for")]
    targets: Annotated[
        tuple[str, ...], Doc('runtimes, "backend/model" or "provider/model"; the first healthy one wins')
    ]
    kind: Annotated[str, Doc("one of the words of `kinds`; absent skips the category check")] = ""
    active: Annotated[bool, Doc("false: not listed, 404")] = True
    balance: Annotated[
        Literal["least-busy", "prefix"],
        Doc('which of several replicas answers: the least busy one, or ("prefix") the one that has read the beginning'),
    ] = "least-busy"
    default: Annotated[bool, Doc("used when a Messages request names no model")] = False
    limits: Annotated[Limits | None, Doc("what all keys together may use of it")] = None
    guardrails: Annotated[tuple[str, ...], Doc("names of [[guardrails]]")] = ()
    defaults: Annotated[dict[str, Any], Doc("fields for requests that have none: `{ temperature = 0.7 }`")] = {}
    forced: Annotated[dict[str, Any], Doc("fields that replace what a request has")] = {}
    stripped: Annotated[tuple[str, ...], Doc("fields that are taken out of requests")] = ()
    system: Annotated[
        Literal["keep", "first", "user"],
        Doc(
            'system messages stay where they are, go into one at the front ("first"), or into the first turn of the '
            'user ("user") for templates without such a role'
        ),
    ] = "keep"
    developer: Annotated[
        Literal["keep", "system", "user"], Doc("the role of messages from the developer, for templates without it")
    ] = "keep"


class Guardrail(Section, frozen=True):
    """A check on input or output."""

    name: Annotated[str, Doc("unique")]
    kind: Annotated[
        Literal["pii", "regex", "keywords", "model", "max_input"],
        Doc("what it looks at: personal data and secrets, patterns, words, a guard model's answer, or length"),
    ]
    on: Annotated[tuple[Literal["input", "output"], ...], Doc("what is checked")] = ("input",)
    action: Annotated[Literal["block", "redact", "flag"], Doc("what a finding does")] = "block"
    models: Annotated[
        tuple[str, ...], Doc('models it is for, beside those that name it; "*" stands for any run of characters')
    ] = ()
    entities: Annotated[tuple[str, ...], Doc("pii: what to look for; absent looks for everything")] = ()
    patterns: Annotated[tuple[str, ...], Doc("regex: RE2 patterns whose matches have at most 4,096 characters")] = ()
    words: Annotated[tuple[str, ...], Doc("keywords: words or phrases, in any case")] = ()
    model: Annotated[str, Doc("model: the public name of the guard model to ask")] = ""
    instructions: Annotated[str, Doc("model: a system message for the guard model; empty sends none")] = ""
    safe: Annotated[tuple[str, ...], Doc("model: what it says of a text that may pass, in any case")] = ("safe",)
    unsafe: Annotated[tuple[str, ...], Doc("model: what it says of a text that may not pass, in any case")] = (
        "unsafe",
    )
    categories: Annotated[
        dict[str, str], Doc('model: names for its categories, such as { S1 = "violent_crimes" }; "" lets one pass')
    ] = {}
    timeout: Annotated[Seconds, Doc("model: how long it may take to answer, its loading included")] = Seconds(10)
    on_failure: Annotated[
        Literal["block", "allow"], Doc("model: what happens to a text when it gives no answer that can be read")
    ] = "block"
    window: Annotated[int, Doc("model: a stream is checked each time that this many more characters have come")] = 2_000
    max_chars: Annotated[int, Doc("max_input: the most characters of text that a request may hold")] = 100_000


class Usage(Section, frozen=True):
    """What is kept about each exchange. Never what was asked or answered."""

    keep: Annotated[Seconds, Doc("how long each exchange is kept; the sums of each day stay")] = Seconds(90 * 86400)
    max_size: Annotated[Size, Doc("largest size of the usage file; beyond it the oldest exchanges go")] = Size(2**30)


class Events(Section, frozen=True):
    """What is kept of what happens: changes of state, orders, reloads, keys, faults."""

    keep: Annotated[Seconds, Doc("how long each event is kept")] = Seconds(90 * 86400)
    max_count: Annotated[int, Doc("how many are kept; beyond them the oldest go")] = 100_000


class Config(Section, frozen=True):
    """The whole file."""

    server: Annotated[Server, Doc("how the appliance itself listens and behaves")] = Server()
    keys: Annotated[tuple[Key, ...], Doc('client credentials; also API_KEYS="k1,k2" in the environment')] = ()
    runtimes: Annotated[tuple[Runtime, ...], Doc("model servers that the appliance launches")] = ()
    backends: Annotated[tuple[Backend, ...], Doc("model servers that somebody else runs")] = ()
    providers: Annotated[tuple[Provider, ...], Doc("cloud APIs that may be asked")] = ()
    models: Annotated[tuple[Model, ...], Doc("public names; a runtime or backend model without one has its own")] = ()
    guardrails: Annotated[tuple[Guardrail, ...], Doc("checks on input and output")] = ()
    parameters: Annotated[Parameters, Doc("fields of requests that can hurt an engine")] = Parameters()
    usage: Annotated[Usage, Doc("how long the usage of each key is kept")] = Usage()
    events: Annotated[Events, Doc("how long is kept what happened")] = Events()
