"""What `status` and `top` show of a snapshot: tables for a terminal of any width, and for a pipe. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from appliance.cli.tables import PIPE, Listing, Row, shortened

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
    "fault": "red",
    "ok": "green",
}
_RANKS = {"bold red": 0, "red": 1, "yellow": 2}
_SHORT = 16  # characters of a request id that tell it from others under way
_BAR = 10  # characters of a progress bar
_WIDE = 110  # columns from which on everything has room
_FULL, _EMPTY = "\u2593", "\u2591"
_SPARKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_HEALTH = {True: "healthy", False: "unhealthy", None: "unknown"}


def board(state: State, width: int = PIPE, most: int | None = None) -> Group:
    """Models, processes, backends and GPUs, each as a table where there are any, for so many columns.

    With `most` lines, as many rows as fit, the worst and the busiest first, each of them one line.
    """
    tables = [one for one in (models(state), processes(state, width), backends(state), gpus(state)) if one.rows]
    rooms = [sum(one.lines(width)) for one in tables]
    if most is not None:
        rooms = shares(rooms, most - 2 * len(tables))
    parts: list[RenderableType] = []
    for one, room in zip(tables, rooms, strict=True):
        shown = one if most is None else replace(one, rows=_worst(one, room, width))
        parts.append(shown.shown(width))
        if left := len(one.rows) - len(shown.rows):
            parts.append(Text(f"… and {left} more: `appliance status` shows all", style="dim"))
        parts.append("")
    return Group(*parts[:-1])


def shares(wanted: Sequence[int], room: int) -> list[int]:
    """How many lines each table gets of so many: what one does not need is the others'. None is left without any."""
    given = [min(most, 2) for most in wanted]
    room -= sum(given)
    while room > 0 and given != list(wanted):
        least = min((at for at, most in enumerate(wanted) if given[at] < most), key=lambda at: given[at])
        given[least] += 1
        room -= 1
    return given


def models(state: State) -> Listing:
    """One row for each public name; what it stands for where there is room."""
    rows: list[Row] = []
    for row in state.get("models", ()):
        waits = row.get("waiting", 0)
        figures = (
            f"{row['in_flight'] - waits}/{waits}",
            _number(row["requests_per_second"]),
            _number(row["output_tokens_per_second"]),
            span(row["first_token_p95"]),
        )
        rows.append(((row["name"], _state(row["state"]), *figures), Text(", ".join(row["targets"]))))
    columns = ("MODEL", "STATE", ">RUN/WAIT", ">REQ/S", ">TOK/S", ">TTFT p95")
    return Listing(columns, rows, "TARGETS", under=False)


def processes(state: State, width: int = PIPE) -> Listing:
    """One row for each replica; where there is no room, without what is seldom asked for."""
    wide = width >= _WIDE
    before, after = (("ENGINE",), (">STARTS", ">PID")) if wide else ((), ())
    rows: list[Row] = []
    for row in state["replicas"]:
        words = ". ".join(part for part in (row["reason"].rstrip("."), row["advice"]) if part)
        why = " ".join(part for part in (row["stage"] or row["progress"], words) if part)
        slots = row.get("slots")
        ill = row["state"] == "ready" and not row.get("healthy", True)
        cells = (
            row["replica"],
            _state("unhealthy" if ill else row["state"], row["percent"]),
            *([row.get("engine", "")] if wide else []),
            ",".join(str(index) for index in row.get("gpus", ())) or "-",
            size(row.get("memory")),
            f"{row['busy']}/{slots}" if slots else str(row["busy"]),
            ago(row["seconds"]),
            *([str(row["starts"]), str(row["pid"] or "-")] if wide else []),
        )
        rows.append((cells, Text(why)))
    return Listing(("REPLICA", "STATE", *before, "GPU", ">MEMORY", ">BUSY", ">FOR", *after), rows)


def backends(state: State) -> Listing:
    """One row for each backend."""
    rows: list[Row] = [
        ((row["name"], _state(_HEALTH[row["healthy"]]), row.get("engine", "")), Text(row["reason"]))
        for row in state["backends"]
    ]
    return Listing(("BACKEND", "STATE", "ENGINE"), rows)


def gpus(state: State) -> Listing:
    """One row for each GPU."""
    rows: list[Row] = []
    for gpu in state.get("gpus", ()):
        trouble = gpu["fault"] or ("" if gpu["known"] else "does not answer")
        cells = (
            str(gpu["index"]),
            gpu["name"],
            f"{gpu['used'] / 2**30:.1f} of {gpu['total'] / 2**30:.1f} GiB",
            "-" if gpu["utilization"] is None else f"{gpu['utilization']:.0f} %",
            "-" if gpu["temperature"] is None else f"{gpu['temperature']:.0f} °C",
            "-" if gpu.get("power") is None else f"{gpu['power']:.0f} W",
            _state("fault" if trouble else "ok"),
        )
        rows.append((cells, Text(trouble)))
    return Listing(("GPU", "NAME", ">MEMORY", ">BUSY", ">TEMP", ">POWER", "STATE"), rows)


def requests(state: State, most: int, width: int = PIPE) -> Listing:
    """The oldest requests under way; where there is no room, without their targets and with shortened names."""
    wide = width >= _WIDE
    id_, key, model = (_SHORT, 24, 32) if wide else (12, 10, 16)
    rows: list[Row] = []
    for row in state.get("requests", ())[:most]:
        names = (row["id"][:id_], shortened(row["key"], key), shortened(row["model"], model))
        told = (f"{row['seconds']:.1f} s", span(row["first_token"]), f"{row['tokens']:,}")
        rows.append(((*names, row["phase"].replace("_", " "), *told), Text(row["target"])))
    columns = ("REQUEST", "KEY", "MODEL", "PHASE", ">FOR", ">FIRST", ">TOKENS")
    return Listing(columns, rows, "TARGET", under=False)


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
        others = f" (the same for {', '.join(stuck[1:])})" if stuck[1:] else ""
        yield f"Next: mend what is said of {stuck[0]}, then run: appliance load {stuck[0]}{others}"


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


def _worst(listing: Listing, room: int, width: int) -> list[Row]:
    """As many rows as fit into so many lines: those that somebody has to act on, then those that change."""
    found = []
    for row, lines in sorted(zip(listing.rows, listing.lines(width), strict=True), key=lambda one: _rank(one[0])):
        room -= lines
        if room < 0:
            break
        found.append(_one_line(row, width))
    return found


def _rank(row: Row) -> int:
    return min(_RANKS.get(_COLOURS.get(str(cell).split(" ")[0], ""), len(_RANKS)) for cell in row[0][1:])


def _one_line(row: Row, width: int) -> Row:
    (name, *cells), words = row
    words = words.copy()
    words.no_wrap, words.overflow = True, "ellipsis"
    return (shortened(str(name), max(width // 3, 16)), *cells), words
