"""What `status` and `top` show of a snapshot: tables for a terminal of any width, and for a pipe. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

State = Mapping[str, Any]
_COLOURS = {
    "ready": "green",
    "healthy": "green",
    "loading": "yellow",
    "starting": "yellow",
    "draining": "yellow",
    "stopping": "yellow",
    "backoff": "red",
    "blocked": "red",
    "quarantined": "bold red",
    "unhealthy": "red",
}
_SHORT = 16  # characters of a request id that tell it from others under way
_BAR = 10  # characters of a progress bar
_WIDE = 110  # columns from which on everything has room
_FULL, _EMPTY = "\u2593", "\u2591"
_SPARKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_HEALTH = {True: "healthy", False: "unhealthy", None: "unknown"}


def board(state: State, width: int = _WIDE) -> Group:
    """Models, processes, backends and GPUs, each as a table where there are any, for so many columns."""
    parts: list[RenderableType] = []
    for table in (models(state), processes(state, wide=width >= _WIDE), backends(state), gpus(state)):
        if table.row_count:
            parts += [table, ""]
    return Group(*parts[:-1])


def models(state: State) -> Table:
    """One row for each public name."""
    table = _table("MODEL", "STATE", "TARGETS", ">RUN/WAIT", ">REQ/S", ">TOK/S", ">TTFT p95")
    for row in state.get("models", ()):
        waits = row.get("waiting", 0)
        table.add_row(
            row["name"],
            _state(row["state"]),
            ", ".join(row["targets"]),
            f"{row['in_flight'] - waits}/{waits}",
            _number(row["requests_per_second"]),
            _number(row["output_tokens_per_second"]),
            span(row["first_token_p95"]),
        )
    return table


def processes(state: State, *, wide: bool = True) -> Table:
    """One row for each replica; where there is no room, without what is seldom asked for."""
    more = ("ENGINE",), (">STARTS", ">PID")
    before, after = more if wide else ((), ())
    table = _table("REPLICA", "STATE", *before, "GPU", ">MEMORY", ">BUSY", ">FOR", *after, "WHY")
    for row in state["replicas"]:
        words = ". ".join(part for part in (row["reason"].rstrip("."), row["advice"]) if part)
        why = " ".join(part for part in (row["stage"] or row["progress"], words) if part)
        slots = row.get("slots")
        table.add_row(
            row["replica"],
            _state(row["state"], row["percent"]),
            *([row.get("engine", "")] if wide else []),
            ",".join(str(index) for index in row.get("gpus", ())) or "-",
            size(row.get("memory")),
            f"{row['busy']}/{slots}" if slots else str(row["busy"]),
            ago(row["seconds"]),
            *([str(row["starts"]), str(row["pid"] or "-")] if wide else []),
            Text(why),
        )
    return table


def backends(state: State) -> Table:
    """One row for each backend."""
    table = _table("BACKEND", "STATE", "ENGINE", "WHY")
    for row in state["backends"]:
        table.add_row(row["name"], _state(_HEALTH[row["healthy"]]), row.get("engine", ""), Text(row["reason"]))
    return table


def gpus(state: State) -> Table:
    """One row for each GPU."""
    table = _table("GPU", "NAME", ">MEMORY", ">BUSY", ">TEMP", ">POWER", "STATE")
    for gpu in state.get("gpus", ()):
        trouble = gpu["fault"] or ("" if gpu["known"] else "does not answer")
        table.add_row(
            str(gpu["index"]),
            gpu["name"],
            f"{gpu['used'] / 2**30:.1f} of {gpu['total'] / 2**30:.1f} GiB",
            "-" if gpu["utilization"] is None else f"{gpu['utilization']:.0f} %",
            "-" if gpu["temperature"] is None else f"{gpu['temperature']:.0f} °C",
            "-" if gpu.get("power") is None else f"{gpu['power']:.0f} W",
            Text(trouble, style="red") if trouble else Text("ok", style="green"),
        )
    return table


def requests(state: State, most: int) -> Table:
    """The oldest requests under way."""
    table = _table("REQUEST", "KEY", "MODEL", "TARGET", "PHASE", ">SECONDS", ">FIRST TOKEN", ">TOKENS")
    for row in state.get("requests", ())[:most]:
        values = (row["id"][:_SHORT], row["key"], row["model"], row["target"], row["phase"].replace("_", " "))
        told = (f"{row['seconds']:.1f}", span(row["first_token"]), f"{row['tokens']:,}")
        table.add_row(*(Text(value, overflow="ellipsis", no_wrap=True) for value in values), *told)
    return table


def notes(state: State) -> Iterator[str]:
    """What an operator should know beside the tables, and do next."""
    for line in state.get("queues", ()):
        if line["waiting"]:
            busy = f"{line['running']} of {line['slots']} slots are busy"
            yield f"{line['runtime']}: {busy}, {line['waiting']} requests wait"
    for circuit in state.get("circuits", ()):
        why = f"{circuit['failures']} failures in a row ({circuit['reason']})"
        yield f"{circuit['target']} is left alone: {why}; tried again in {circuit['next_try']:g} s"
    for what in ("usage", "events"):
        kept = state.get(what) or {"recording": True}
        if not kept["recording"]:
            lost = f"{kept['waiting']} wait, {kept['dropped']} are lost"
            yield f"{what.capitalize()} is not being recorded: {kept['trouble']}. {lost}."
    stuck = [row["replica"] for row in state["replicas"] if row["state"] == "quarantined"]
    if stuck:
        yield f"Next: mend what WHY says, then run: appliance load {stuck[0]}"


def sparkline(values: Sequence[float], width: int) -> str:
    """The last values as small bars, the greatest one full."""
    shown, most = values[-width:], max(values, default=0)
    return "".join(_SPARKS[min(int(value / most * 7.99), 7) if most else 0] for value in shown)


def ago(seconds: float) -> str:
    """How long: 12s, 5m, 2h, 3d."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def span(seconds: float | None) -> str:
    """A latency: 85 ms, 3.2 s."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def size(count: float | None) -> str:
    """Bytes of GPU memory."""
    return f"{count / 2**30:.1f} GiB" if count else "-"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or not value else f"{value:.1f}"


def _state(state: str, percent: float | None = None) -> Text:
    text = Text(state, style=_COLOURS.get(state, ""), no_wrap=True)
    if percent is not None:
        full = round(percent / 100 * _BAR)
        text.append(" " + _FULL * full + _EMPTY * (_BAR - full) + f" {percent:.0f} %")
    return text


def _table(*columns: str) -> Table:
    """A plain table; a column whose name begins with ">" holds numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        right = name.startswith(">")
        table.add_column(
            name.removeprefix(">"),
            justify="right" if right else "left",
            no_wrap=right or name in (columns[0], "STATE"),  # a name that is cut is no name
            overflow="fold",
        )
    return table
