"""What is searched: real English and Chinese transcripts, recombined so that a million messages are not few repeated.

A message has the clauses of a real one, each replaced by a real clause of about its length and of its language: lengths
and words are as frequent as they were. One in twenty begins with a name, out of a supply without end: as in life, a
larger collection has more words that are rare in it. Equal seeds give equal messages.
"""

import gzip
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_CLAUSE = re.compile(r"[^,.;!?，。；！？]*[,.;!?，。；！？]+|[^,.;!?，。；！？]+")
_STEP = 4
"""Clauses whose lengths differ by less than this stand for each other."""
_SHORTEST, _LONGEST = 10, 40
"""Messages of a conversation."""
_NAMED = 0.05
_TAIL = 0.6
"""Exponent of how rare the rarer names are."""
_SCATTER = 104_729
"""A prime: names that are equally frequent have nothing else in common."""


class CorpusMissing(Exception):
    """There are no transcripts; the message says what to do about it."""


@dataclass(frozen=True)
class Language:
    """How messages of a language are made: the clauses of real ones, and what joins them."""

    messages: Sequence[Sequence[str]]
    joint: str
    syllables: Sequence[str]
    greeting: str

    @cached_property
    def alike(self) -> Mapping[int, Sequence[str]]:
        """All clauses by about their length, the more frequent ones more often."""
        clauses: dict[int, list[str]] = defaultdict(list)
        for message in self.messages:
            for clause in message:
                clauses[len(clause) // _STEP].append(clause)
        return clauses

    def write(self, dice: random.Random) -> str:
        """A message."""
        clauses = [dice.choice(self.alike[len(clause) // _STEP]) for clause in dice.choice(self.messages)]
        if dice.random() < _NAMED:
            clauses.insert(0, self.greeting.format(self._name(int(dice.paretovariate(_TAIL)))))
        return self.joint.join(clauses)

    def _name(self, rank: int) -> str:
        """The name of a rank: three syllables."""
        number, count, name = rank * _SCATTER, len(self.syllables), ""
        for _ in range(3):
            number, index = divmod(number, count)
            name += self.syllables[index]
        return name.capitalize()


@dataclass(frozen=True)
class Corpus:
    languages: Sequence[Language]

    @classmethod
    def read(cls, folder: Path) -> "Corpus":
        """From `transcripts-en.jsonl.gz` and `transcripts-zh.jsonl.gz`; raises CorpusMissing."""
        latin = [consonant + vowel for consonant in "bdfghjklmnprstv" for vowel in "aeiou"]
        han = list("安柏晨冬恩芳桂海佳康兰明宁鹏琪睿思桃维晓雅泽志卓")
        return cls(
            [
                Language(_clauses(folder / "transcripts-en.jsonl.gz"), " ", latin, "{},"),
                Language(_clauses(folder / "transcripts-zh.jsonl.gz"), "", han, "{}，"),
            ]
        )

    def conversations(self, size: int, *, seed: int = 7) -> Iterator[Sequence[str]]:
        """`size` messages as conversations, equally many messages of each language."""
        dice = random.Random(seed)
        written = [0] * len(self.languages)
        while (missing := size - sum(written)) > 0:
            index = written.index(min(written))
            count = min(missing, dice.randint(_SHORTEST, _LONGEST))
            yield [self.languages[index].write(dice) for _ in range(count)]
            written[index] += count


def _clauses(path: Path) -> Sequence[Sequence[str]]:
    """Every message as its clauses, blanks around them stripped."""
    if not path.is_file():
        raise CorpusMissing(f"Search is left out: there is no {path}; BENCH_DATA names the folder of the transcripts.")
    messages = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            for message in json.loads(line)["messages"]:
                clauses = [clause.strip() for clause in _CLAUSE.findall(message["content"])]
                messages.append([clause for clause in clauses if clause])
    return [message for message in messages if message]
