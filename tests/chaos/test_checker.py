"""The checker finds what it is there for: each test makes up one fault in a history that was right."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chaos.checker import KINDS, Transcript, stale, violations
from chaos.history import Append, Exported, History, Reading, Seen

A, B = "/api/conversations/a", "/api/conversations/b"


class World:
    """Two conversations that three clients wrote to, a reader, and an export; all is well."""

    def __init__(self) -> None:
        self.appends = [
            Append(A, "a1", 0.0, 1.0, 1, "id-a1"),
            Append(A, "a2", 1.5, 3.0, 2, "id-a2"),
            Append(A, "a3", 2.0, 2.5, 3, "id-a3"),  # beside a2: either may come first
            Append(A, "unknown", 2.0),  # the client gave up, and it was stored all the same
            Append(A, "never", 2.0),
            Append(B, "b1", 0.0, 9.0, 1, "id-b1"),
        ]
        self.rows = [
            Seen(A, 1, "id-a1", "a1"),
            Seen(A, 2, "id-a2", "a2"),
            Seen(A, 3, "id-a3", "a3"),
            Seen(A, 4, "id-unknown", "unknown"),
            Seen(B, 1, "id-b1", "b1"),
        ]
        self.reading = Reading(A, 2.6, 2.7, [self.rows[2], self.rows[1], self.rows[0]])
        self.export = Exported("jsonl", [A, B], 5.0, 6.0, self.rows[:4], claimed=4)

    def found(self) -> set[str]:
        """The kinds of violations."""
        history = History(self.appends, [self.reading], [self.export])
        final = {
            name: Transcript(rows := [row for row in self.rows if row.conversation == name], len(rows), len(rows))
            for name in (A, B)
        }
        return {each.kind for each in violations(history, final)}


def _lose(world: World) -> None:
    """The last one, so that the numbers are without gaps."""
    world.rows = world.rows[:4]


def _lose_in_the_middle(world: World) -> None:
    world.rows = [world.rows[0], *world.rows[2:]]


def _store_twice(world: World) -> None:
    world.rows.append(Seen(A, 5, "id-other", "a1"))


def _exchange(world: World) -> None:
    """a1, which was confirmed before a2 began, is numbered behind it; both were confirmed so."""
    world.appends[0].seq, world.appends[1].seq = 2, 1
    world.rows[0], world.rows[1] = Seen(A, 1, "id-a2", "a2"), Seen(A, 2, "id-a1", "a1")


def _move_after_confirming(world: World) -> None:
    world.rows[1], world.rows[2] = Seen(A, 3, "id-a2", "a2"), Seen(A, 2, "id-a3", "a3")


def _store_what_began_later_first(world: World) -> None:
    """Nobody was told its number, but it cannot have been there so early."""
    world.appends[3].started = 3.5
    world.appends[2].seq, world.rows[2] = 4, Seen(A, 4, "id-a3", "a3")
    world.rows[3] = Seen(A, 3, "id-unknown", "unknown")


def _change_content(world: World) -> None:
    world.rows[0] = Seen(A, 1, "id-a1", "A1")


def _put_elsewhere(world: World) -> None:
    world.rows[4] = Seen(B, 1, "id-b1", "a1")


def _show_what_was_rolled_back(world: World) -> None:
    world.reading = replace(world.reading, rows=[Seen(A, 4, "id-gone", "never"), *world.reading.rows])


def _show_with_a_gap(world: World) -> None:
    world.reading = replace(world.reading, rows=[world.rows[2], world.rows[0]])


def _cut_the_file(world: World) -> None:
    world.export = replace(world.export, rows=world.rows[:2], claimed=2)


def _repeat_a_row(world: World) -> None:
    world.export = replace(world.export, rows=[*world.rows[:4], world.rows[0]], claimed=5)


def _export_another_text(world: World) -> None:
    world.export = replace(world.export, rows=[Seen(A, 1, "id-a1", "?"), *world.rows[1:4]])


def _claim_more(world: World) -> None:
    world.export = replace(world.export, claimed=5)


def _damage_the_file(world: World) -> None:
    world.export = replace(world.export, is_intact=False)


FAULTS: dict[Callable[[World], None], set[str]] = {
    _lose: {"lost"},
    _lose_in_the_middle: {"lost", "gap", "unseen", "incomplete"},
    _store_twice: {"doubled"},
    _exchange: {"reordered", "unseen", "incomplete"},
    _move_after_confirming: {"lost", "unseen", "incomplete"},
    _store_what_began_later_first: {"reordered", "unseen", "incomplete"},
    _change_content: {"lost", "foreign", "unseen", "incomplete"},
    _put_elsewhere: {"lost", "doubled", "foreign"},
    _show_what_was_rolled_back: {"unseen"},
    _show_with_a_gap: {"unseen"},
    _cut_the_file: {"incomplete"},
    _repeat_a_row: {"incomplete"},
    _export_another_text: {"incomplete"},
    _claim_more: {"incomplete"},
    _damage_the_file: {"incomplete"},
}


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert World().found() == set()


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__.strip("_"))
def test_a_fault_is_found(spoil: Callable[[World], None]) -> None:
    world = World()
    spoil(world)

    assert world.found() == FAULTS[spoil]


def test_every_kind_of_violation_is_proved_to_be_found() -> None:
    assert set().union(*FAULTS.values()) == set(KINDS)


def test_a_conversation_that_miscounts_itself_is_found() -> None:
    rows = [Seen(A, 1, "id-a1", "a1")]
    history = History([Append(A, "a1", 0.0, 1.0, 1, "id-a1")])

    for last_seq, count in ((2, 1), (1, 2)):
        found = violations(history, {A: Transcript(rows, last_seq, count)})
        assert [each.kind for each in found] == ["gap"]


def test_a_reading_that_lacks_what_was_confirmed_before_is_stale() -> None:
    world = World()
    old = replace(world.reading, rows=world.reading.rows[1:])

    assert stale(History(world.appends, [world.reading, old])) == [old]
    assert stale(History(world.appends, [replace(old, started=2.4)])) == []  # a3 was not confirmed yet
