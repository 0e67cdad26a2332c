"""All migrations, in their order. Numbers only grow; a migration that has been released is never changed or taken out.

A new index needs no entry: number 1 builds whatever documents declare and the database lacks. A new stored field that
older rows have to get is a migration of the phase `migrate`; what older versions can no longer work with is `contract`.
"""

from collections.abc import Sequence

from app.migrations import steps
from app.migrations.model import Migration

MIGRATIONS: Sequence[Migration] = (
    Migration(
        1,
        "indexes",
        "expand",
        "every index that documents declare",
        steps.build_indexes,
        is_due=steps.lacks_indexes,
    ),
    Migration(
        2,
        "free_turn_events",
        "expand",
        "drop a unique index of the first shape of turns' events, which no new event passes",
        steps.free_turn_events,
        is_due=steps.is_closed_to_turn_events,
    ),
    Migration(
        3,
        "windows",
        "migrate",
        "windows for names, e-mails and titles that were stored without, so that searches find them by an index",
        steps.give_windows,
        is_due=steps.lacks_windows,
    ),
    Migration(
        4,
        "later_fields",
        "migrate",
        "fields that came later, and the times of turns that ended before they were kept",
        steps.fill_later_fields,
    ),
    Migration(
        5,
        "retired_indexes",
        "contract",
        "drop indexes that only older versions use",
        steps.drop_retired_indexes,
        is_due=steps.has_retired_indexes,
    ),
    Migration(
        6,
        "normal_forms",
        "migrate",
        "normal forms of messages that were stored without, so that full width is found by half width",
        steps.give_forms,
    ),
    Migration(
        7,
        "retired_search",
        "contract",
        "drop the first form of the search index, which only older versions use",
        steps.drop_retired_search,
    ),
    Migration(
        8,
        "edges",
        "migrate",
        "begin to make the search index of messages anew, so that it tells where they begin and end",
        steps.give_edges,
        is_due=steps.lacks_edges,
    ),
)


def level_of(migrations: Sequence[Migration]) -> int:
    """What a version with these migrations knows."""
    return max(each.number for each in migrations)
