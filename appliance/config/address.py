"""Where people reach a server, from what it listens on."""

from appliance.config.check import split_listen
from appliance.config.schema import Server

_EVERYWHERE = {"0.0.0.0", "::", ""}


def root_url(server: Server, machine: str) -> str:
    """The root URL, such as http://gpubox.lan:8000.

    Args:
        server: the section of the configuration.
        machine: the host name of this machine, for a server that listens everywhere and has no names.
    """
    host, port = split_listen(server.listen)
    if host in _EVERYWHERE:
        host = server.names[0] if server.names else machine
    host = f"[{host}]" if ":" in host else host
    return f"{'http' if server.tls == 'off' else 'https'}://{host}:{port}"
