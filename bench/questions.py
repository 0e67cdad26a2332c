"""What is asked: strings of each kind, chosen by how many of the stored messages hold them."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any
from urllib.parse import urlencode

from app.kit.search import Match, Search

PAGE = 20
"""Messages of a page."""
EACH = 20
"""Strings of a kind, where the corpus has so many."""
_TRIES = 200
_RARE = (5, 20)
_WITHOUT_LITERAL = (
    *(r"[0-9]{6}", r"\d{4}", r"[A-Z][a-z]+ [A-Z][a-z]+", r"[aeiou]{4}", r"^.{100,}$", r"(\w)\1\1", r"[^\x00-\x7f]{40}"),
    *(r"[!?]{2}", r"^\W", r"\d+[:.]\d+[:.]\d+"),
)


@dataclass(frozen=True)
class Question:
    text: str
    match: Match = "literal"
    case_sensitive: bool = False

    @property
    def path(self) -> str:
        """The request."""
        parameters = {"q": self.text, "match": self.match, "case_sensitive": str(self.case_sensitive).lower()}
        return f"/api/messages?{urlencode({**parameters, 'limit': PAGE})}"

    @property
    def pattern(self) -> str:
        return self.text if self.match == "regex" else re.escape(self.text)

    @property
    def condition(self) -> Mapping[str, Any]:
        """What the database is asked of every message."""
        return Search(("content",), self.text, self.match, self.case_sensitive, normalized=("content",)).condition


@dataclass(frozen=True)
class Kind:
    """Questions of a kind; how many of all messages match the middle one."""

    name: str
    questions: Sequence[Question]
    hits: float


class Texts:
    """The stored texts, counted."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._folded = [text.lower() for text in texts]
        self._dice = random.Random(13)
        self._words = _counted(self._folded, re.compile("[a-z]{3,}").findall)
        self._names = _counted(texts, re.compile("[A-Z][a-z]{3,}").findall)
        self._han = _counted(texts, re.compile("[\u4e00-\u9fff]").findall)
        self._han_pairs = _counted(texts, _pairs)

    def kinds(self) -> Sequence[Kind]:
        """Every kind of which the texts hold any."""
        strings: Mapping[str, Iterable[Question]] = {
            "word, rare (5 to 20 messages)": map(Question, self._within(self._words, _RARE)),
            "word, medium (0.05 to 0.2 %)": map(Question, self._within(self._words, self._medium)),
            "word, common (over 10 %)": map(Question, self._common()),
            "absent, as long as a word": map(Question, self._absent()),
            "3 letters within a word": map(Question, self._inner()),
            "phrase of 12 to 30 characters": map(Question, self._phrases()),
            "2 Chinese characters, rare": map(Question, self._within(self._han_pairs, _RARE)),
            "2 Chinese characters, most common": map(Question, _most(self._han_pairs)),
            "1 Chinese character, any": map(Question, self._any_han()),
            "case-sensitive word, medium": [
                Question(word, case_sensitive=True) for word in self._within(self._names, self._medium)
            ],
            "regex with a literal, and a digit": [Question(f"{word}.*[0-9]", "regex") for word in self._literals()],
            "regex with a literal, at the start": [Question(f"^{word}", "regex") for word in self._literals()],
            "regex with a literal, at the end": [Question(f"{word}$", "regex") for word in self._literals()],
            "regex with a literal, rest in no term": [
                Question(f"{word}.{{3}}[^a-z]{{3}}q", "regex") for word in self._literals()
            ],
            "regex without": [Question(pattern, "regex") for pattern in _WITHOUT_LITERAL],
        }
        found = {name: list(questions) for name, questions in strings.items()}
        return [
            Kind(name, questions, median(self._count(each) for each in questions))
            for name, questions in found.items()
            if questions
        ]

    @property
    def _medium(self) -> tuple[int, int]:
        return max(2, len(self._texts) // 2000), max(4, len(self._texts) // 500)

    def _count(self, question: Question) -> int:
        """How many messages match."""
        if question.match == "literal" and not question.case_sensitive:
            return self._holding(question.text)
        pattern = re.compile(question.pattern, 0 if question.case_sensitive else re.IGNORECASE)
        return sum(pattern.search(text) is not None for text in self._texts)

    def _holding(self, string: str) -> int:
        folded = string.lower()
        return sum(folded in text for text in self._folded)

    def _within(self, counts: Counter[str], bounds: tuple[int, int]) -> list[str]:
        """Some strings that so many messages hold, also as parts of other words."""
        least, most = bounds
        strings = [string for string, count in sorted(counts.items()) if least <= count <= most]
        return self._first(strings, lambda string: least <= self._holding(string) <= most)

    def _common(self) -> list[str]:
        words = [word for word, _ in self._words.most_common(_TRIES)]
        return self._first(words, lambda string: self._holding(string) > len(self._texts) // 10)

    def _literals(self) -> list[str]:
        """Medium words, and as many pairs of Chinese characters."""
        return [
            *self._within(self._words, self._medium)[: EACH // 2],
            *self._within(self._han_pairs, self._medium)[: EACH // 2],
        ]

    def _absent(self) -> list[str]:
        """Words with their halves exchanged, which no message holds."""
        words = [word for word in sorted(self._words) if len(word) >= 6]
        return self._first([word[3:] + word[:3] for word in words], lambda string: not self._holding(string))

    def _inner(self) -> list[str]:
        return self._first(sorted({word[1:4] for word in self._words if len(word) > 4}))

    def _phrases(self) -> list[str]:
        """Parts from the middle of messages."""
        return self._first(sorted({text[4:34].strip() for text in self._texts if len(text) >= 20}))

    def _any_han(self) -> list[str]:
        """From the most common to the rarest, at equal distances."""
        ranked = [character for character, _ in self._han.most_common()]
        return ranked[:: max(1, len(ranked) // EACH)][:EACH]

    def _first(self, strings: list[str], is_fit: Callable[[str], bool] = bool) -> list[str]:
        """Some of the strings that are fit, of so many tries at most: each may read every text."""
        found: list[str] = []
        for string in self._dice.sample(strings, min(_TRIES, len(strings))):
            if len(found) < EACH and is_fit(string):
                found.append(string)
        return found


def _counted(texts: Iterable[str], parts: Callable[[str], Iterable[str]]) -> Counter[str]:
    """How many texts have each part."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(parts(text)))
    return counts


def _pairs(text: str) -> list[str]:
    return [one + two for one, two in pairwise(text) if _is_han(one) and _is_han(two)]


def _is_han(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"


def _most(counts: Counter[str]) -> list[str]:
    return [string for string, _ in counts.most_common(EACH)]
