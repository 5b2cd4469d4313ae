"""Rules about TLS and about the names that we answer to. Pure; whether files can be used is for `pem`."""

from collections.abc import Iterator

from appliance.config.check import Finding
from appliance.config.locate import ConfigPath, dotted
from appliance.config.schema import Server
from appliance.domain.hosts import as_address, is_host_name

_FIX = 'write "off", "internal", or { cert = "/path/to/chain.pem", key = "/path/to/key.pem" }'


def check_tls(server: Server) -> Iterator[Finding]:
    """Everything that is wrong with them, where the types are right."""
    path: ConfigPath = ("server", "tls")
    if isinstance(server.tls, str) and server.tls not in {"off", "internal"}:
        yield Finding(path, '`server.tls` must be "off", "internal", a table, or a list of tables', _FIX)
    elif not server.tls:
        yield Finding(path, "`server.tls` is empty", _FIX)
    if server.http2 and server.tls == "off":
        yield Finding(("server", "http2"), "`server.http2` needs TLS, which is off", "remove it, or set `server.tls`")
    for index, name in enumerate(server.names):
        here: ConfigPath = ("server", "names", index)
        if not is_host_name(name.removesuffix(".")) and as_address(name) is None:
            fix = 'write the host alone, as it stands in a URL: "gpubox.lan"; other alphabets as "xn--…"'
            yield Finding(here, f"`{dotted(here)}` is neither a host name nor an address", fix)
