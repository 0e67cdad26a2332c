"""Tables in Markdown, so that they can be pasted into a page."""

from rich import box
from rich.table import Table

MEBIBYTE = 1024 * 1024


def table(title: str, *headings: str, names: int = 1) -> Table:
    """The first `names` columns name a row, the others hold its figures."""
    made = Table(title=title, title_justify="left", box=box.MARKDOWN)
    for index, heading in enumerate(headings):
        made.add_column(heading, justify="left" if index < names else "right", no_wrap=True)
    return made


def ratio(value: float, other: float) -> str:
    """`value` as a multiple of `other`."""
    return f"{value / other:.2f}" if other else "-"


def mebibytes(size: float) -> str:
    return f"{size / MEBIBYTE:,.0f}"
