"""`make bench`: the gateway side by side with others, one core each, against the same mock model server.

Rows that compare gateways: requests, flood, paced, wide, large, memory. Rows for ours alone: scrape, watched,
translated, guarded, policies, soak.
While developing: ARGS="--only flood --gateways appliance --rounds 1", and watch the CPU time.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence

from bench import report
from bench.gateways import Appliance, Gateway, everybody
from bench.guarded import guarded_rounds
from bench.machine import CACHE, GATEWAY_CPU, LOAD_CPU, facts, settle
from bench.memory import STREAMS, idle_connections, memory, soak
from bench.policies import policy_rounds
from bench.program import NotMeasuredError, find
from bench.scrape import scrape_rounds
from bench.translated import translated_rounds
from bench.watched import WORK as WATCHED
from bench.watched import watched_rounds
from bench.work import Figures, Work, turn, works

_COMPARED = ("requests", "flood", "paced", "wide", "large")
_ALWAYS = (*_COMPARED, "translated")
_ON_DEMAND = ("scrape", "watched", "guarded", "policies", "soak", "memory")
_OURS_ALONE = {"scrape", "watched", "translated", "guarded", "policies", "soak"}
Measured = dict[str, list[Figures]]  # by gateway


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help=f"rows, of {','.join((*_ALWAYS, *_ON_DEMAND))} (default: the first six)")
    parser.add_argument(
        "--gateways",
        default="appliance,vllm-router,nginx,haproxy",
        help="or bare: the least that Trio can do; direct: none at all",
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each gateway; the figures are medians")
    parser.add_argument("--seconds", type=float, default=4, help="of one turn of requests and large")
    parser.add_argument("--cmd", default="", help="another build of ours: its command, with {config} for its file")
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the soak")
    parser.add_argument("--nice", type=int, default=0, help="of all measured programs; -20 on a shared machine (root)")
    for name in _ON_DEMAND:
        parser.add_argument(f"--{name}", action="store_true", help=f"the same as --only {name}")
    parsed = parser.parse_args(arguments)
    rows = parsed.only.split(",") if parsed.only else []
    rows += [name for name in _ON_DEMAND if getattr(parsed, name)]
    unknown = set(rows) - {*_ALWAYS, *_ON_DEMAND}
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}")
    parsed.rows = rows or list(_ALWAYS)
    return parsed


def present(names: str, serve: str) -> dict[str, Gateway]:
    """The gateways that were asked for and can be measured, by name; says who is missing."""
    known = {gateway.name: gateway for gateway in everybody(serve)}
    found = {}
    for name in names.split(","):
        why = known[name].missing() if name in known else f"there is no such gateway, only {', '.join(known)}"
        if why:
            print(f"{name} is skipped: {why}")
        else:
            found[name] = known[name]
    return found


def in_turns(gateways: dict[str, Gateway], rounds: int, measure: Callable[[Gateway], Figures]) -> Measured:
    """Every gateway once in each round, so that a machine that slows down harms all alike; failures are said."""
    measured: Measured = {name: [] for name in gateways}
    for _ in range(rounds):
        for name, gateway in gateways.items():
            try:
                measured[name].append(measure(gateway))
            except NotMeasuredError as error:
                print(f"  {error}")
                measured[name].append({"errors": 1})
    return measured


def measure(row: str, args: argparse.Namespace, gateways: dict[str, Gateway], files: int) -> tuple[Work, Measured]:
    """One row: what was done, and every gateway's figures."""
    known = {work.name: work for work in works(args.seconds)}
    if row in known:
        work = known[row]
        return work, in_turns(gateways, args.rounds, lambda gateway: turn(gateway, work))
    if row == "scrape":
        paced = known["paced"]
        columns = ("transit p99 ms", "transit p50 ms", "series", "scrape ms")
        work = Work(
            row, f"{paced.about}: with a scrape of the metrics every second, and without", (), columns, columns[:1]
        )
        return work, scrape_rounds(args.cmd, paced, args.rounds)
    if row == "watched":
        return WATCHED, watched_rounds(args.cmd, args.rounds)
    if row == "translated":
        flood = known["flood"]
        work = Work(row, f"{flood.about}: as Messages, and as they are", (), flood.columns, flood.ratios)
        return work, translated_rounds(args.cmd, flood, args.rounds)
    if row == "guarded":
        flood = known["flood"]
        work = Work(row, f"{flood.about}: with guardrails, and as they are", (), flood.columns, flood.ratios)
        return work, guarded_rounds(args.cmd, flood, args.rounds)
    if row == "policies":
        requests = known["requests"]
        about = f"{requests.about}: with every policy configured, with none, without guardrails, with keys only"
        work = Work(row, about, (), requests.columns, requests.ratios)
        return work, policy_rounds(args.cmd, requests, args.rounds)
    if row == "memory":
        real = {name: gateway for name, gateway in gateways.items() if name != "direct"}
        idle = idle_connections(files)
        sizes = ("at rest MiB", "KiB/idle connection", "KiB/stream")
        work = Work(
            row,
            f"resident after the warm-up, and with {idle:,} idle connections or {STREAMS} streams",
            (),
            sizes,
            sizes,
        )
        return work, in_turns(real, 1, lambda gateway: memory(gateway, idle))
    parts = soak(Appliance(args.cmd), args.requests)
    work = Work(row, f"{args.requests:,} whole answers, ours alone", (), ("RSS MiB", "requests/s"), ())
    return work, {f"after {part['requests']:,.0f}": [part] for part in parts}


def main() -> int:
    """Measure the rows, print and save them; 1 if anything went wrong at our own, 2 if nothing can be measured."""
    args = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not find("cc"):
        print("mock and clients are C programs: apt-get install gcc libc6-dev")
        return 2
    files = settle(args.nice)
    gateways = present(args.gateways, args.cmd)
    if not gateways:
        return 2
    versions = {name: gateway.version() for name, gateway in gateways.items()}
    print(", ".join(f"{name} {value}" for name, value in (facts() | versions).items()))
    print(f"the gateway has CPU {GATEWAY_CPU}; mock and clients have CPU {LOAD_CPU}; median of {args.rounds} rounds")
    if GATEWAY_CPU == LOAD_CPU:
        print("this machine has one CPU only: gateway, mock and clients share it, and nothing here is comparable")
    everything: dict[str, Measured] = {}
    failed = False
    for row in args.rows:
        try:
            work, everything[row] = measure(row, args, gateways, files)
        except NotMeasuredError as error:
            print(f"\n{row}: {error}")
            failed = True
            continue
        print(f"\n{row}: {work.about}\n{report.describe(work, everything[row])}", flush=True)
        report.save(CACHE / "result.json", facts(), versions, everything)
        ours = list(everything[row]) if row in _OURS_ALONE else ["appliance"]
        failed = failed or any(figures["errors"] for name in ours for figures in everything[row].get(name, ()))
    print(f"\nall rounds: {CACHE.name}/result.json")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
