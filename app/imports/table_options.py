"""What whoever imports says about a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TableOptions:
    """`name`: of the file, for sentences; `columns`: the heading of a field, as far as it is said."""

    name: str
    columns: Mapping[str, str] = field(default_factory=dict)
