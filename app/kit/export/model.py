"""What an export is made of: headings, rows, options, and the shape of a format."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from zoneinfo import ZoneInfo

from app.kit.resource import Kind
from app.kit.zones import check_time_zone

Row = Sequence[object]
"""Values in the order of the headings: text, integers, numbers, booleans, aware datetimes, dates, ObjectIds, lists,
mappings or None."""

EXCEL_ROWS = 1_048_576
ABOUT = "About"
GROUP_ROWS = 250
_SHEET_NAME = re.compile(r"(?!')[^\[\]:*?/\\\x00-\x1f]{1,24}(?<!')")


@dataclass(frozen=True)
class Heading:
    """One column: its name on the wire (dotted when nested), its label on a sheet, and what it holds."""

    name: str
    label: str
    kind: Kind = "text"


@dataclass(frozen=True)
class ExportOptions:
    """How a file is written; each format reads what concerns it.

    `raw`: CSV for machines, without byte order mark and formula guard. `sheet_name`: of the sheets with rows, up to
    24 characters that Excel allows. `sheet_rows`: rows of a sheet, its header included, before the next one begins.
    `tz`: the IANA name of the time zone that instants are shown in; JSON Lines and JSON in cells are always UTC.
    `continues`: these rows follow others of the same file, so there is no header; where the format `can_continue`.
    """

    raw: bool = False
    tz: str = "UTC"
    sheet_name: str = "Data"
    sheet_rows: int = EXCEL_ROWS
    continues: bool = False

    def __post_init__(self) -> None:
        if not _SHEET_NAME.fullmatch(self.sheet_name) or self.sheet_name.casefold() in ("about", "history"):
            raise ValueError(f"{self.sheet_name!r} cannot name a sheet")
        if not 2 <= self.sheet_rows <= EXCEL_ROWS:
            raise ValueError(f"a sheet has 2 to {EXCEL_ROWS} rows, not {self.sheet_rows}")
        check_time_zone(self.tz)

    @cached_property
    def zone(self) -> ZoneInfo:
        """The time zone's rules; the first use of each reads a small file, so use it in a thread."""
        return ZoneInfo(self.tz)


Stream = Callable[
    [Sequence[Heading], AsyncIterator[Iterable[Row]], Mapping[str, str], ExportOptions], AsyncGenerator[bytes, None]
]
"""(headings, batches, about, options) -> chunks of the file. Takes over `batches` and closes it.

A batch is read once, in a worker thread, so rows that are made as they are read do not cost the event loop anything.

Raises ValueError at the call when the headings cannot be written, and while iterating whatever `batches` raises.
"""


@dataclass(frozen=True)
class Format:
    """A file format: its name, media type, file name extension without a dot, and its writer.

    `is_installed`: whether the packages that it needs are there; without them its writer raises Invalid, saying what to
    install. `can_continue`: files of parts of the rows, one behind the other, are the file of all of them.
    """

    name: str
    media_type: str
    extension: str
    stream: Stream
    is_installed: bool = True
    can_continue: bool = False


def grouped(rows: Iterable[Row], width: int) -> Iterator[list[Row]]:
    """The rows in groups that are encoded column by column; raises ValueError when one has not `width` values."""
    rows = iter(rows)
    while group := list(islice(rows, GROUP_ROWS)):
        if wrong := set(map(len, group)) - {width}:
            raise ValueError(f"a row has {min(wrong)} values for {width} headings")
        yield group


def require_unique(what: str, values: Iterable[str]) -> None:
    """Raise ValueError when there is no value, or the same one twice."""
    listed = list(values)
    if not listed or len(set(listed)) != len(listed):
        raise ValueError(f"{what} must be given and differ: {listed}")
