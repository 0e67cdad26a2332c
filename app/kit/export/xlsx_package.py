"""What a workbook holds besides its rows: the parts of its package, and what stands before and behind a sheet's rows.

A header of bold white on slate stays in sight. Every row is one line high and shows the beginning of its texts, so that
a hundred rows can be scanned at once, however long an answer is; wrapping is a click away. Numbers keep a distance from
the text right of them, times stand under their heading, and a fine line runs below each row. A printed sheet is as wide
as a landscape page and repeats its header.

Nothing in it tells when it was written or by whom, so equal rows are equal files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from app.kit.export.xlsx_rows import column_name, header_row
from app.kit.resource import Kind

_HEADER, _TEXT, _NUMBER, _INSTANT, _DATE, LEFT = range(1, 7)
"""The styles of cells in `xl/styles.xml`, by their place there; before them is that of cells without one."""
_HEADER_POINTS = 21
_PADDING = 0.7109375
"""What a sheet adds to a width in characters for the cell's margins, with Excel's default font."""
_STYLES: Mapping[Kind, int] = {
    "instant": _INSTANT,
    "date": _DATE,
    "boolean": LEFT,
    "integer": _NUMBER,
    "number": _NUMBER,
}
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_OPENXML = "http://schemas.openxmlformats.org"
_MAIN = f"{_OPENXML}/spreadsheetml/2006/main"
_RELATIONSHIPS = f"{_OPENXML}/officeDocument/2006/relationships"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"


@dataclass(frozen=True)
class Column:
    """A column of a sheet: `width` in characters, and the style of its cells."""

    label: str
    width: int
    style: int


@dataclass(frozen=True)
class Sheet:
    """A sheet of so many rows besides its header. `filtered`: with a filter over the rows."""

    name: str
    columns: Sequence[Column]
    rows: int
    filtered: bool = True

    @property
    def last(self) -> tuple[str, int]:
        """The last column and row: at least one below the header, since a filter needs one."""
        return column_name(len(self.columns) - 1), max(self.rows, 1) + 1

    @property
    def range(self) -> str:
        column, row = self.last
        return f"A1:{column}{row}"


def style_of(kind: Kind) -> int:
    """The style of the cells of a column of this kind."""
    return _STYLES.get(kind, _TEXT)


def package(sheets: Sequence[Sheet]) -> dict[str, str]:
    """The parts of a workbook besides the sheets, by their names in its archive."""
    return {
        "[Content_Types].xml": _content_types(len(sheets)),
        "_rels/.rels": _relationships({"xl/workbook.xml": "officeDocument"}),
        "xl/workbook.xml": _workbook(sheets),
        "xl/_rels/workbook.xml.rels": _relationships(
            {**{f"worksheets/sheet{n + 1}.xml": "worksheet" for n in range(len(sheets))}, "styles.xml": "styles"}
        ),
        "xl/styles.xml": _STYLESHEET,
    }


def sheet_head(sheet: Sheet, *, is_first: bool) -> str:
    """What stands before the rows, header included."""
    selected = ' tabSelected="1"' if is_first else ""
    columns = "".join(
        f'<col min="{n}" max="{n}" width="{each.width + _PADDING}" style="{each.style}" customWidth="1"/>'
        for n, each in enumerate(sheet.columns, 1)
    )
    return (
        f'{_XML}<worksheet xmlns="{_MAIN}"><sheetPr><pageSetUpPr fitToPage="1"/></sheetPr>'
        f'<dimension ref="{sheet.range}"/>'
        f'<sheetViews><sheetView showGridLines="0"{selected} workbookViewId="0">'
        '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/><selection pane="bottomLeft"/>'
        f'</sheetView></sheetViews><sheetFormatPr defaultRowHeight="15"/><cols>{columns}</cols><sheetData>'
        f"{header_row([each.label for each in sheet.columns], _HEADER, _HEADER_POINTS)}"
    )


def sheet_tail(sheet: Sheet) -> str:
    """What stands behind the rows."""
    autofilter = f'<autoFilter ref="{sheet.range}"/>' if sheet.filtered else ""
    return (
        f"</sheetData>{autofilter}"
        '<pageMargins left="0.7" right="0.7" top="0.75" bottom="0.75" header="0.3" footer="0.3"/>'
        '<pageSetup orientation="landscape" fitToHeight="0"/></worksheet>'
    )


def _content_types(sheets: int) -> str:
    parts = {"workbook.xml": "sheet.main", "styles.xml": "styles"}
    parts |= {f"worksheets/sheet{n + 1}.xml": "worksheet" for n in range(sheets)}
    return (
        f'{_XML}<Types xmlns="{_OPENXML}/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        + "".join(f'<Override PartName="/xl/{n}" ContentType="{_TYPE}.{kind}+xml"/>' for n, kind in parts.items())
        + "</Types>"
    )


def _relationships(targets: Mapping[str, str]) -> str:
    """`targets`: what each file is. The first one has the id rId1."""
    lines = (
        f'<Relationship Id="rId{n}" Type="{_RELATIONSHIPS}/{kind}" Target="{target}"/>'
        for n, (target, kind) in enumerate(targets.items(), 1)
    )
    return f'{_XML}<Relationships xmlns="{_OPENXML}/package/2006/relationships">{"".join(lines)}</Relationships>'


def _workbook(sheets: Sequence[Sheet]) -> str:
    listed = "".join(
        f'<sheet name={quoteattr(sheet.name)} sheetId="{n}" r:id="rId{n}"/>' for n, sheet in enumerate(sheets, 1)
    )
    names = [_defined("_FilterDatabase", n, each, hidden=True) for n, each in enumerate(sheets) if each.filtered]
    names += [_defined("Print_Titles", n, each) for n, each in enumerate(sheets)]
    return (
        f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONSHIPS}"><bookViews><workbookView/></bookViews>'
        f"<sheets>{listed}</sheets><definedNames>{''.join(names)}</definedNames></workbook>"
    )


def _defined(name: str, number: int, sheet: Sheet, *, hidden: bool = False) -> str:
    """The name of the filter's range, or of the rows that are printed on every page."""
    quoted = "'" + sheet.name.replace("'", "''") + "'"
    column, row = sheet.last
    place = f"$A$1:${column}${row}" if hidden else "$1:$1"
    attribute = ' hidden="1"' if hidden else ""
    return f'<definedName name="_xlnm.{name}" localSheetId="{number}"{attribute}>{escape(quoted)}!{place}</definedName>'


_RULED = 'fontId="0" fillId="0" borderId="1" xfId="0" applyBorder="1" applyAlignment="1"'
_STYLESHEET = (
    f'{_XML}<styleSheet xmlns="{_MAIN}">'
    '<numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy-mm-dd hh:mm:ss"/>'
    '<numFmt numFmtId="165" formatCode="yyyy-mm-dd"/></numFmts>'
    '<fonts count="2"><font><sz val="11"/><name val="Calibri"/><family val="2"/></font>'
    '<font><b/><sz val="11"/><color rgb="FFFFFFFF"/><name val="Calibri"/><family val="2"/></font></fonts>'
    '<fills count="3"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill>'
    '<fill><patternFill patternType="solid"><fgColor rgb="FF2F4858"/><bgColor indexed="64"/></patternFill></fill>'
    "</fills>"
    '<borders count="2"><border><left/><right/><top/><bottom/><diagonal/></border><border><left/><right/><top/>'
    '<bottom style="thin"><color rgb="FFD5DDE3"/></bottom><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
    '<cellXfs count="7"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
    '<xf numFmtId="0" fontId="1" fillId="2" borderId="0" xfId="0" applyFont="1" applyFill="1" applyAlignment="1">'
    '<alignment vertical="center"/></xf>'
    f'<xf numFmtId="0" {_RULED}><alignment vertical="top"/></xf>'
    f'<xf numFmtId="0" {_RULED}><alignment horizontal="right" vertical="top" indent="1"/></xf>'
    f'<xf numFmtId="164" applyNumberFormat="1" {_RULED}><alignment horizontal="left" vertical="top"/></xf>'
    f'<xf numFmtId="165" applyNumberFormat="1" {_RULED}><alignment horizontal="left" vertical="top"/></xf>'
    f'<xf numFmtId="0" {_RULED}><alignment horizontal="left" vertical="top"/></xf></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>'
    '<dxfs count="0"/><tableStyles count="0"/></styleSheet>'
)
"""`_HEADER` and those behind it are the second and further ones of `cellXfs`."""
