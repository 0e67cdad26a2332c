"""JSON Lines of messages, a line each, as our own export writes them; nested values have dotted names.

Lines of conversations may stand among them, in any order: they tell what is not in the messages.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from app.conversations.resource import CONVERSATIONS, MESSAGES
from app.imports.fields import RefusedError
from app.imports.jsonl import as_text, decoded, read_raw_lines
from app.imports.mapping import ColumnMap, map_columns
from app.imports.records import BadRecord
from app.imports.row_groups import TableRow
from app.imports.streams import Entry, UnreadableSource
from app.imports.table_options import TableOptions
from app.kit.resource import Resource

SHAPES = 1000
"""Maps that are kept: lines of other names are looked at each time."""
_NESTED = frozenset(
    column.name.partition(".")[0] for column in (*MESSAGES.columns, *CONVERSATIONS.columns) if "." in column.name
) | {"conversation", "owner"}


def headings_of(line: Mapping[str, Any]) -> list[str]:
    """The names in a line, dotted where our own are, and everything else that is nested as well."""
    return [
        name
        for key, value in line.items()
        for name in ([f"{key}.{inner}" for inner in value] if key in _NESTED and isinstance(value, dict) else [key])
    ]


def is_own(headings: list[str]) -> bool:
    """Whether a line of these names may be of an export of ours."""
    return any(_is_of(resource, headings) for resource in (MESSAGES, CONVERSATIONS))


def _is_of(resource: Resource, headings: list[str]) -> bool:
    known = set(resource.by_name)
    return all(name in known or name.partition(".")[0] in {"conversation", "owner"} for name in headings)


def read_rows(entry: Entry, options: TableOptions, first: int = 1) -> Iterator[TableRow | BadRecord]:
    """A row for each line. Each kind of line has a map of its own; raises UnreadableSource when the first has none."""
    maps: dict[tuple[str, ...], ColumnMap] = {}
    for position, line in read_raw_lines(entry, first):
        if isinstance(line, BadRecord):
            yield line
            continue
        try:
            value = decoded(line)
            yield TableRow(_map_of(value, maps, options), position, value)
        except RefusedError as error:
            yield BadRecord(position, str(error), as_text(line))
        except UnreadableSource as error:
            if not maps:
                raise
            yield BadRecord(position, str(error), as_text(line))


def _map_of(line: Mapping[str, Any], maps: dict[tuple[str, ...], ColumnMap], options: TableOptions) -> ColumnMap:
    """The map of lines with the same names."""
    headings = headings_of(line)
    shape = tuple(headings)
    if shape not in maps and len(maps) < SHAPES:
        maps[shape] = map_columns(options.name, _with_paths(headings, options), options.columns)
    return maps.get(shape) or map_columns(options.name, _with_paths(headings, options), options.columns)


def _with_paths(headings: list[str], options: TableOptions) -> list[str]:
    """Headings that a client names are taken for granted: a line need not have all members."""
    return [*headings, *(path for path in options.columns.values() if path not in headings)]
