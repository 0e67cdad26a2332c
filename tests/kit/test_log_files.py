"""Where lines go: standard output or error, and a file that is put aside as it grows."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import structlog
from pymongo.errors import OperationFailure
from pymongo.logger import _log_client_error

from app.config import Settings
from app.kit.errors import Unavailable
from app.kit.log_queue import QueuedFile
from app.kit.logs import LogFile, configure_logs, logger
from app.log_setup import start_logs


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, config = root.handlers, root.level, structlog.get_config()
    yield
    _close()
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**config)
    vars(logger).pop("bind", None)


def _close() -> None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, QueuedFile):
            handler.close()


def test_the_file_holds_json_and_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "verbatim.log"
    configure_logs("info", "console", file=LogFile(path, max_bytes=4096, backups=2))
    for number in range(200):
        logger.info("counted", number=number, key="vb_0123456789abcdefghij")
    _close()

    files = [path.with_name(f"{path.name}{end}") for end in (".2", ".1", "")]
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    numbers = [line["number"] for line in lines]
    assert numbers == list(range(numbers[0], 200))
    assert numbers[0] > 0  # older files are gone
    assert all(file.stat().st_size <= 4096 for file in files)
    assert {line["key"] for line in lines} == {"[secret]"}
    assert not path.with_name(f"{path.name}.3").exists()


def test_each_worker_has_a_file_of_its_own_and_shows_its_number(tmp_path: Path) -> None:
    configure_logs("info", "console", file=LogFile(tmp_path / "verbatim.log", 4096, 1), worker=3)
    logger.info("here")
    logging.getLogger("library").warning("and %s", "there")
    _close()

    lines = [json.loads(line) for line in (tmp_path / "verbatim-3.log").read_text().splitlines()]
    assert [(line["event"], line["worker"]) for line in lines] == [("here", 3), ("and there", 3)]


@pytest.mark.parametrize(
    ("format", "output", "place"),
    [
        ("json", "auto", "out"),
        ("console", "auto", "err"),
        ("json", "stderr", "err"),
        ("console", "stdout", "out"),
    ],
)
def test_json_goes_to_standard_output_and_lines_for_people_to_standard_error(
    capsys: pytest.CaptureFixture[str],
    format: Literal["console", "json"],
    output: Literal["auto", "stdout", "stderr"],
    place: str,
) -> None:
    start_logs(Settings(_env_file=None, log_format=format, log_output=output))
    logger.info("a_line")
    shown = capsys.readouterr()

    assert "a_line" in getattr(shown, place)
    assert "a_line" not in (shown.err if place == "out" else shown.out)


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="VERBATIM_LOG_FILE"):
        start_logs(Settings(_env_file=None, log_file=tmp_path / "missing" / "verbatim.log"))


@pytest.mark.parametrize(
    ("error", "is_one_line"),
    [(OperationFailure("the cursor is gone", 211), True), (ZeroDivisionError("nobody has thought of it"), False)],
)
def test_what_the_drivers_own_tasks_meet_is_one_line(
    capsys: pytest.CaptureFixture[str], error: Exception, is_one_line: bool
) -> None:
    configure_logs("info", "json", output="stdout")
    try:
        raise error
    except (OperationFailure, ZeroDivisionError):
        _log_client_error()
    line = json.loads(capsys.readouterr().out)

    assert str(error) in line["event"] + line.get("exception", "")
    assert ("exception" not in line) is is_one_line
    assert line["level"] == ("warning" if is_one_line else "error")
