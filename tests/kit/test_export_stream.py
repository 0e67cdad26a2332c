"""What every format promises about its stream: threads, errors, consumers that leave, memory."""

import asyncio
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import current_default_thread_limiter

from app.kit.export import FORMATS, ExportOptions, Heading, Row, xlsx_writer
from app.kit.export.xlsx_rows import RowEncoder

HEADINGS = [Heading("id", "Id", "id"), Heading("content", "Content")]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files, of which none may be left or open after each test, nor a borrowed thread."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []
    assert open_files(tmp_path) == []


@pytest.fixture(autouse=True)
async def threads() -> AsyncIterator[None]:
    before = current_default_thread_limiter().borrowed_tokens
    yield
    assert current_default_thread_limiter().borrowed_tokens == before


class Source:
    """Batches of 100 rows, and whether they were closed; fails after `limit` of them when told so."""

    def __init__(self, limit: int = 10, error: Exception | None = None) -> None:
        self.limit, self.error, self.is_closed = limit, error, False

    async def batches(self) -> AsyncGenerator[Sequence[Row], None]:
        try:
            for number in range(self.limit):
                yield [(f"{number:024x}", "x" * 100)] * 100
            if self.error:
                raise self.error
        finally:
            await asyncio.sleep(0)
            self.is_closed = True


def stream(name: str, source: Source) -> AsyncGenerator[bytes, None]:
    return FORMATS[name].stream(HEADINGS, source.batches(), {}, ExportOptions())


async def collect(chunks: AsyncIterator[bytes], received: list[bytes]) -> None:
    async for chunk in chunks:
        received.append(chunk)  # noqa: PERF401 - what came before an error counts


async def run(code: str, *arguments: str) -> bytes:
    """What the code prints in a Python of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", code, *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


def open_files(folder: Path) -> list[str]:
    """What this process has open in the folder, files without a name as well."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one of the listing itself
            found.append(str(each.readlink()))
    return [path for path in found if path.startswith(f"{folder}/")]


def test_the_formats() -> None:
    assert {name: (each.name, each.extension) for name, each in FORMATS.items()} == {
        "csv": ("csv", "csv"),
        "xlsx": ("xlsx", "xlsx"),
        "jsonl": ("jsonl", "jsonl"),
        "parquet": ("parquet", "parquet"),
    }
    assert FORMATS["csv"].media_type == "text/csv; charset=utf-8"


@pytest.mark.parametrize("name", FORMATS)
async def test_rows_are_read_in_worker_threads(name: str) -> None:
    readers = set()

    class Witness(tuple[object, ...]):
        def __iter__(self) -> Iterator[object]:
            readers.add(threading.get_ident())
            return super().__iter__()

    async def batches() -> AsyncIterator[Sequence[Row]]:
        yield [Witness(("a", "b"))]

    assert [chunk async for chunk in FORMATS[name].stream(HEADINGS, batches(), {}, ExportOptions())]
    assert readers
    assert threading.get_ident() not in readers


@pytest.mark.parametrize("name", ["csv", "jsonl"])
async def test_an_error_of_the_source_ends_the_stream_with_it(name: str) -> None:
    source = Source(limit=3, error=ConnectionError("the primary is gone"))
    received: list[bytes] = []
    with pytest.raises(ConnectionError, match="the primary is gone"):
        await collect(stream(name, source), received)
    assert b"".join(received).count(b"x" * 100) == 300
    assert source.is_closed


@pytest.mark.parametrize("name", FORMATS)
async def test_a_source_that_is_refused_at_once_sends_no_byte(name: str) -> None:
    received: list[bytes] = []
    with pytest.raises(ConnectionError, match="the primary is gone"):
        await collect(stream(name, Source(limit=0, error=ConnectionError("the primary is gone"))), received)
    assert received == []


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("row", [("a",), ("a", "b", "c")])
async def test_a_row_that_does_not_fit_the_headings_is_an_error(name: str, row: Row) -> None:
    async def batches() -> AsyncIterator[Sequence[Row]]:
        yield [row]

    with pytest.raises(ValueError, match=r"2 headings|zip\(\) argument"):
        await collect(FORMATS[name].stream(HEADINGS, batches(), {}, ExportOptions()), [])


@pytest.mark.parametrize("name", ["xlsx", "parquet"])
async def test_an_error_of_the_source_comes_before_any_byte_of_a_whole_file(name: str) -> None:
    source = Source(limit=3, error=ConnectionError("the primary is gone"))
    with pytest.raises(ConnectionError, match="the primary is gone"):
        await anext(stream(name, source))
    assert source.is_closed


async def test_an_error_of_the_writer_comes_before_any_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(xlsx_writer, "sheet_tail", full)  # when most of the file is written
    source = Source()
    with pytest.raises(OSError, match="No space left"):
        await anext(stream("xlsx", source))
    assert source.is_closed


@pytest.mark.parametrize("name", ["csv", "jsonl"])
@pytest.mark.parametrize("chunks", [1, 2])
async def test_a_consumer_that_stops_early_closes_the_source(name: str, chunks: int) -> None:
    source = Source()
    async with aclosing(stream(name, source)) as export:
        for _ in range(chunks):
            assert await anext(export)
        await anext(export)
        assert not source.is_closed
    assert source.is_closed


@pytest.mark.parametrize(("name", "magic"), [("xlsx", b"PK"), ("parquet", b"PAR1")])
async def test_a_consumer_that_stops_early_deletes_the_file(name: str, magic: bytes, temporary: Path) -> None:
    source = Source()
    async with aclosing(stream(name, source)) as export:
        assert (await anext(export)).startswith(magic)
        assert open_files(temporary)
        assert source.is_closed
    assert open_files(temporary) == []


@pytest.mark.parametrize("scope", ["task", "anyio"])
async def test_a_cancelled_export_stops_writing_within_a_block_of_rows(
    scope: str, monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    loop, writing, cancelled = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    written = []

    def watched(_: RowEncoder, block: bytes) -> bytes:
        written.append(block)
        loop.call_soon_threadsafe(writing.set)
        assert cancelled.wait(30)
        return block

    monkeypatch.setattr(RowEncoder, "finally_named", watched)
    cancel_scope = anyio.CancelScope()

    async def consume() -> None:
        with cancel_scope:
            await anext(stream("xlsx", Source()))

    task = asyncio.create_task(consume())
    await writing.wait()
    assert open_files(temporary)
    if scope == "task":
        task.cancel()
    else:
        cancel_scope.cancel()
    # The export learns of it in one of the next turns of the loop, before the writer may go on.
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done(), "the export must wait for its thread"
    cancelled.set()
    await asyncio.wait([task])
    assert task.cancelled() == (scope == "task")
    assert len(written) == 1


@pytest.mark.parametrize("name", FORMATS)
async def test_a_consumer_cancelled_while_the_source_waits_closes_it(name: str) -> None:
    waiting, is_closed = asyncio.Event(), False

    async def batches() -> AsyncIterator[Sequence[Row]]:
        nonlocal is_closed
        try:
            yield [("a", "b")]
            waiting.set()
            await asyncio.Event().wait()
        finally:
            is_closed = True

    async def consume() -> None:
        async for _ in FORMATS[name].stream(HEADINGS, batches(), {}, ExportOptions()):
            pass

    task = asyncio.create_task(consume())
    await waiting.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert is_closed


MEASURE = """
import asyncio, resource, sys
from app.kit.export import FORMATS, ExportOptions, Heading

async def batches(rows):
    for start in range(0, rows, 1000):
        yield [(number, f"{number}" + "x" * 250) for number in range(start, start + 1000)]

async def main(name, rows):
    size = 0
    headings = [Heading("n", "N", "integer"), Heading("content", "Content")]
    async for chunk in FORMATS[name].stream(headings, batches(rows), {}, ExportOptions()):
        size += len(chunk)
    assert size > rows
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
async def test_memory_does_not_grow_with_the_rows(name: str) -> None:
    few, many = [int(await run(MEASURE, name, rows)) for rows in ("5000", "80000")]
    assert many - few < 8 * 1024, "KiB; the rows alone are 20 MiB"
