"""A verdict to be read: tables in Markdown, and JSON for machines."""

import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.streams import percentile
from bench.tables import table
from chaos.faults import FAULTS
from chaos.figures import Figures
from chaos.run import Options
from chaos.verdict import CALM, PROMISES, Verdict

_SHOWN = 20
"""Violations of a kind that are printed; all are in the file."""

_LEGEND = """Seconds. stall, longest: without a confirmed write (median, longest); back: from the return of a primary to
the next write; slowest: request that succeeded, all its attempts together; failed: requests; cut: answers that did not
come whole; well: until every member was again; late: how late the clients themselves were."""


def show(verdict: Verdict, console: Console) -> None:
    for made in (_faults(verdict.figures), _requests(verdict), _proof(verdict)):
        console.print()
        console.print(made)
    console.print(f"\n{_LEGEND}\n\n{_summary(verdict)}")
    for kind in PROMISES:
        found = [each.sentence for each in verdict.violations if each.kind == kind]
        for sentence in found[:_SHOWN]:
            console.print(f"{kind}: {sentence[:2000]}", style="bold red", markup=False)
        if len(found) > _SHOWN:
            console.print(f"... and {len(found) - _SHOWN} more")
    for sentence in verdict.missed:
        console.print(f"goal missed: {sentence}", style="yellow")


def _faults(figures: Sequence[Figures]) -> Table:
    made = table(
        "Faults",
        *("fault", "times", "stall", "longest", "goal", "back", "slowest", "requests", "failed", "cut", "well", "late"),
    )
    for name in dict.fromkeys(each.fault for each in figures):
        made.add_row(*_row(name, [each for each in figures if each.fault == name]))
    return made


def _row(name: str, every: Sequence[Figures]) -> Sequence[str]:
    fault = FAULTS.get(name)
    stalls, back = [each.stall for each in every], [each.back_after for each in every if each.back_after is not None]
    return (
        *(name, str(len(every))),
        *(f"{median(stalls):.1f}", f"{max(stalls):.1f}"),
        "" if fault is None or fault.stall is None else f"{fault.stall:g}",
        f"{max(back):.1f}" if back else "",
        f"{max(each.slowest for each in every):.1f}",
        *(f"{sum(getattr(each, key) for each in every):,}" for key in ("requests", "failed", "interrupted")),
        f"{max(each.healthy_after for each in every):.1f}",
        f"{max(each.lag for each in every):.2f}",
    )


def _requests(verdict: Verdict) -> Table:
    made = table(
        "Requests, seconds, all their attempts together", "", "requests", "attempts", "failed", "p50", "p99", "max"
    )
    for kind in dict.fromkeys(each.kind for each in verdict.history.requests):
        every = [each for each in verdict.history.requests if each.kind == kind]
        took = [each.ended - each.started for each in every]
        counts = (len(every), sum(each.attempts for each in every), sum(bool(each.failure) for each in every))
        times = (percentile(took, 0.5), percentile(took, 0.99), max(took))
        made.add_row(kind, *(f"{count:,}" for count in counts), *(f"{seconds:.2f}" for seconds in times))
    return made


def _proof(verdict: Verdict) -> Table:
    made = table("What was found", "promise", "broken")
    counts = Counter(each.kind for each in verdict.violations)
    for kind in PROMISES:
        made.add_row(kind, str(counts[kind]))
    return made


def _summary(verdict: Verdict) -> str:
    history, ends = verdict.history, Counter(view.end or "no end" for view in verdict.views)
    appends = len(history.appends)
    confirmed = sum(append.ended is not None for append in history.appends)
    rows = sum(len(export.rows) for export in history.exports)
    answers = ", ".join(f"{count:,} {end.removeprefix('turn.')}" for end, count in ends.most_common())
    return (
        f"{appends:,} messages were attempted and {confirmed:,} confirmed; {len(verdict.views):,} answers ({answers})"
        f" were seen over {sum(view.connections for view in verdict.views):,} connections;"
        f" {len(history.readings):,} readings, {verdict.stale} of them stale; {len(history.exports):,} exports with"
        f" {rows:,} rows. {machine()}; took {verdict.seconds:.0f} s."
    )


def machine() -> str:
    load = os.getloadavg()[0]
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}"


def write(verdict: Verdict, options: Options, path: Path) -> None:
    report: dict[str, Any] = {
        "options": asdict(options),
        "machine": machine(),
        "seconds": verdict.seconds,
        "summary": _summary(verdict),
        "episodes": [asdict(each) for each in verdict.figures if each.fault != CALM],
        "calm": [asdict(each) for each in verdict.figures if each.fault == CALM],
        "requests": Counter(each.kind for each in verdict.history.requests),
        "violations": {kind: [e.sentence for e in verdict.violations if e.kind == kind] for kind in PROMISES},
        "missed": verdict.missed,
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
