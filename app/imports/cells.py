"""Cells of tables: their headings, and their values as what a field holds, whatever a spreadsheet made of them."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any

from app.imports.fields import RefusedError
from app.kit.resource import Kind

_CONTINUED = re.compile(r"(.+) \(([0-9]+)\)")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class Headings:
    """The headings of a table: unique, named where they are empty; a "Content (2)" goes on with "Content"."""

    def __init__(self, cells: Sequence[object]) -> None:
        self.all: list[str] = []
        for number, cell in enumerate(cells, start=1):
            name = str(cell).strip() if cell is not None else ""
            name = name or f"Column {number}"
            self.all.append(name if name not in self.all else f"{name} [{number}]")
        self._continued = {
            heading: match[1]
            for heading in self.all
            if (match := _CONTINUED.fullmatch(heading)) and match[1] in self.all and int(match[2]) > 1
        }
        self.names = [heading for heading in self.all if heading not in self._continued]

    def row(self, cells: Sequence[Any]) -> dict[str, Any]:
        """The cells by their headings; raises RefusedError when there are more."""
        rest = [cell for cell in cells[len(self.all) :] if cell not in (None, "")]
        if rest:
            raise RefusedError(f"The row has {len(cells):,} cells, but there are {len(self.all):,} headings")
        found = dict(zip(self.all, cells, strict=False))
        for heading, first in self._continued.items():
            further = found.pop(heading, None)
            if further not in (None, ""):
                found[first] = f"{found.get(first) or ''}{further}"
        return found


def is_blank(row: Mapping[str, Any]) -> bool:
    return all(value is None or value == "" for value in row.values())


def plain(cell: Any, zone: tzinfo = UTC) -> Any:
    """A cell of a workbook as what JSON holds; times, which have no zone there, are those of `zone`."""
    if isinstance(cell, datetime):
        moment = cell.replace(tzinfo=zone).astimezone(UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    return cell if cell is None or isinstance(cell, str | int | float | bool) else str(cell)


def value_of(kind: Kind, cell: Any, what: str) -> Any:
    """The cell as a value of this kind, for the builders to check; an empty one is None. Raises RefusedError."""
    if cell is None or cell == "":
        return None
    try:
        return _BY_KIND.get(kind, _text)(cell)
    except ValueError as error:
        raise RefusedError(f"{what} {str(cell)[:80]!r} cannot be read as {_NAMES[kind]}") from error


_NAMES: Mapping[Kind, str] = {"integer": "a whole number", "number": "a number", "json": "JSON", "texts": "a list"}


def _text(cell: Any) -> Any:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell) if isinstance(cell, int | float) else cell


def _integer(cell: Any) -> Any:
    return int(cell) if isinstance(cell, str) or (isinstance(cell, float) and cell.is_integer()) else cell


def _number(cell: Any) -> Any:
    return float(cell) if isinstance(cell, str) else cell


def _json(cell: Any) -> Any:
    return json.loads(cell) if isinstance(cell, str) else cell


def _texts(cell: Any) -> Any:
    """A JSON list as in our exports, or words between commas or semicolons."""
    if not isinstance(cell, str):
        return cell
    return json.loads(cell) if cell.lstrip().startswith("[") else list(_split(cell))


def _split(text: str) -> Iterator[str]:
    return (part.strip() for part in re.split("[,;]", text) if part.strip())


def _instant(cell: Any) -> Any:
    return float(cell) if isinstance(cell, str) and _NUMBER.fullmatch(cell) else cell


_BY_KIND: Mapping[Kind, Callable[[Any], Any]] = {
    "integer": _integer,
    "number": _number,
    "json": _json,
    "texts": _texts,
    "instant": _instant,
}
