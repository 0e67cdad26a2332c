"""Metrics of several worker processes as those of one server: whichever of them is asked answers for all.

Each worker keeps its numbers in files of a folder that all can read, under its number and not its process id: one that
is started again goes on counting where it was, so totals never fall and the files do not grow in number.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder, which prometheus_client reads too."""
WORKER = "VERBATIM_WORKER"
"""The environment variable with the number of this process among the workers."""


def share() -> None:
    """Keep numbers where the other workers find them, if this process is one; before the first metric is made."""
    number = os.environ.get(WORKER)
    if FOLDER in os.environ and number is not None:
        values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


def registry_of_all() -> CollectorRegistry | None:
    """What all workers have counted; None for a process that is alone. Reads files."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return None
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    registry.register(_Processes(Path(folder)))
    return registry


def register(folder: Path, number: int, pid: int) -> None:
    """The worker runs as this process."""
    (folder / f"{number}.pid").write_text(str(pid))


def forget(folder: Path, number: int) -> None:
    """The worker has ended: what it had open and what it used is gone; what it has counted stays."""
    (folder / f"{number}.pid").unlink(missing_ok=True)
    mark_process_dead(number, str(folder))  # type: ignore[no-untyped-call]


class _Processes(Collector):
    """Memory, processor time and descriptors of each worker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        merged: dict[str, Metric] = {}
        for file in sorted(self._folder.glob("*.pid")):
            for metric in _process(file):
                family = merged.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    family.add_sample(sample.name, {**sample.labels, "worker": file.stem}, sample.value)
        yield from merged.values()


def _process(file: Path) -> list[Metric]:
    """Those of the process whose id the file holds; nothing when it is gone."""
    try:
        pid = file.read_text()
    except FileNotFoundError:
        return []
    return list(ProcessCollector(pid=lambda: pid, registry=None).collect())
