"""Literals: what is said to be in every text that matches is, and nothing is said of what is not understood."""

import random
import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pymongo import MongoClient

from app.kit.literals import END, START, literals_of_pattern, literals_of_texts, without_edges
from app.kit.windows import fold
from tests.expressions import evaluated

UNDERSTOOD = [
    ("coffee", ("coffee",)),
    ("Cof+eee", ("feee",)),
    ("cof{2}ee", ("coffee",)),
    ("cof{2,}ee", ("coff",)),
    ("a?bc*de", ("de",)),
    ("^mo.ha$", ("\2mo",)),
    ("^ab|^cd", ("\2ab", "\2cd")),
    ("(?:^|x)ab", ("ab",)),
    ("(ab|cd$)|ef\\Z", ("ab", "cd\3", "ef\3")),
    ("^ab$", ("\2ab\3",)),
    ("^^ab$$", ("\2ab\3",)),
    ("\\Aab.*cde\\z", ("cde\3",)),
    ("^?abc$*", ("abc",)),
    ("xab^cd", ("xab",)),
    ("abc$\n", ("abc\3",)),
    ("(?=^x)ab", ("ab",)),
    ("(?im)^ab$", ("ab",)),
    ("(?m:^ab$)", ("ab",)),
    ("(?s-m)^ab", ("\2ab",)),
    ("mocha|latte", ("mocha", "latte")),
    ("(?:mocha|latte) macchiato", (" macchiato",)),
    ("x(abc|abd)y", ("xab",)),
    ("(foo|foo)bar", ("foobar",)),
    ("(foo|)bar", ("bar",)),
    ("foo(bar)?", ("foo",)),
    ("foo|", ()),
    ("(ab){3}c", ("abababc",)),
    ("(ab.cd){2}", ("ab",)),
    ("(?i)ABC", ("abc",)),
    ("a(?i:B)c", ("abc",)),
    ("(?=.*xyz)abcd", ("abcd",)),
    ("ab(?!x)cd(?<=d)e(?<!q)", ("abcde",)),
    ("foo\\bbar$", ("foobar\3",)),
    ("\\d+-abc", ("-abc",)),
    ("\\x41\\x{42}c", ("abc",)),
    ("a\\.b\\|c\\\\", ("a.b|c\\",)),
    ("[aA]b[c][^d]", ("abc",)),
    ("[]]x[^]y]", ("]x",)),
    ("[a-c]xy[\\d\\]]", ("xy",)),
    ("(?P<n>ab)c(?<m>d)", ("abcd",)),
    ("(ab)c\\1de", ("abc",)),
    ("ab++c", ("ab",)),
    ("(?>ab)c", ("abc",)),
    ("东京.*城市", ("东京",)),
    ("[东西]京", ("京",)),
    ("[东西].京*", ("东", "西")),
    ("[0-9]+", tuple("0123456789")),
    ("\\d{2,}", tuple("0123456789")),
    ("[\\d.]x*", (*"0123456789", ".")),
    ("[.0-2-]", (*".012", "-")),
    ("[-ac]", tuple("-ac")),
    ("[x-z-a]", tuple("xyz-a")),
    ("[+--]", tuple("+,-")),
    ("[C-Ac]|b", ()),
    ("[b-b]", ("b",)),
    ("[A-Ca-c]", tuple("abc")),
    ("[a\\]-`]", tuple("a]^_`")),
    ("[ab]?", ()),
    ("[^ab]", ()),
    ("[a-z]", ()),
    ("[a\\w]", ()),
    ("[\\d-x]", ()),
    ("[x-\\d]", ()),
    ("[a\\x00]", ()),
    ("abcd恋", ("abcd恋",)),
    ("abc.恋恋", ("恋恋",)),
    ("\\tab", ("\tab",)),
    (".*", ()),
    ("", ()),
    ("ab\\x00cd", ("ab",)),
]
NOT_UNDERSTOOD = [
    "[a-",
    "[a-[:alpha:]]",
    "abc\\Qd.e\\E",
    "abc[[:alpha:]]",
    "abc[[.a.]]",
    "(?x)a b c",
    "(?J)abc",
    "abc{,3}",
    "abc{ 2 }",
    "abc{x",
    "abc**",
    "abc{2}{3}",
    "(a)(?1)bcd",
    "(?R)abc",
    "(?(1)ab|cd)",
    "(?|ab|cd)",
    "(?#abc)",
    "abc\\Kd",
    "abc\\R",
    "abc\\N",
    "abc\\pL",
    "abc\\X",
    "abc\\cA",
    "abc\\0",
    "abc\\12",
    "abc\\u0041",
    "abc\\g1",
    "abc\\x4",
    "abc\\x{110000}",
    "[\\1]abc",
    "[\\Ea]bc",
    "(abc",
    "abc)",
    "[abc",
    "abc\\",
    "*abc",
    "(*UTF8)abc",
    "(" * 100 + "abc" + ")" * 100,
]


@pytest.mark.parametrize(("pattern", "literals"), UNDERSTOOD)
def test_the_longest_literal_of_a_pattern(pattern: str, literals: tuple[str, ...]) -> None:
    assert list(literals_of_pattern(pattern))[:1] == [literals] * bool(literals)


@pytest.mark.parametrize("pattern", NOT_UNDERSTOOD)
def test_nothing_is_said_of_a_pattern_that_is_not_understood(pattern: str) -> None:
    assert not literals_of_pattern(pattern)


MEMBERS = ("a", "b", "B", "k", "-", "-", "]", "^", ".", "1", "2", "，", "恋", "\\d", "\\w", "\\-", "\\]", "\\x41", "[")
CHARACTERS = "aAbBcCkK\u212a-]^.0123,，恋x["


@given(st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=6).map("".join), st.sampled_from(CHARACTERS))
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_a_class_matches_has_one_of_its_characters(members: str, character: str) -> None:
    pattern = f"[{members}]"
    needs = literals_of_pattern(pattern)
    assume(needs)
    try:
        found = re.fullmatch(pattern, character, re.IGNORECASE)
    except re.error:
        return
    assert not found or all(any(text in fold(character) for text in need) for need in needs)


@pytest.mark.mongod
def test_what_the_database_takes_a_class_for_has_one_of_its_characters(mongo_uri: str) -> None:
    """Python and PCRE differ in what a hyphen means."""
    dice = random.Random(7)
    told = 0
    client: MongoClient[dict[str, Any]]
    with MongoClient(mongo_uri) as client:
        for _ in range(500):
            pattern = f"[{''.join(dice.choices(MEMBERS, k=dice.randint(1, 6)))}]"
            needs = literals_of_pattern(pattern)
            find = {"$regexFindAll": {"input": CHARACTERS, "regex": {"$literal": pattern}, "options": "i"}}
            found = evaluated(client, find)
            if found is None:
                continue
            matched = [fold(each["match"]) for each in found]
            assert all(any(text in each for text in need) for need in needs for each in matched), pattern
            told += bool(needs)
    assert told > 100


@given(st.text(alphabet="([{?*+\\|)]}^$.-:=!<>abQEx0,", max_size=200))
def test_no_pattern_breaks_the_parser(pattern: str) -> None:
    literals_of_pattern(pattern)


@given(st.text(alphabet="([{?*+\\|)]}^$.-:=!<>abdwx12,", max_size=12), st.text(alphabet="ab.-x12", max_size=12))
def test_what_python_matches_contains_a_literal(pattern: str, text: str) -> None:
    """For the syntax that Python and PCRE have in common, which is all that is left when something was understood."""
    literals = literals_of_pattern(pattern)
    assume(literals)
    try:
        found = re.search(pattern, text, re.IGNORECASE)
    except (re.error, FutureWarning):
        return
    assert not found or all(any(literal in f"{START}{fold(text)}{END}" for literal in need) for need in literals)


@pytest.mark.parametrize(
    ("text", "literals"), [("a.c|", ("a.c|",)), ("ÉCLAIR", ("éclair",)), ("ab\u0378cde", ("cde",)), ("\u0378", ())]
)
def test_the_longest_part_of_a_text_that_is_certain(text: str, literals: tuple[str, ...]) -> None:
    assert list(literals_of_texts([text]))[:1] == [literals] * bool(literals)


def test_what_begins_with_a_text_has_it_at_its_start() -> None:
    assert list(literals_of_texts(["ab", "cd"], at_start=True)) == [("\2ab", "\2cd")]


def test_needs_without_edges_say_only_what_a_text_contains() -> None:
    needs = [("\2ab", "cd\3"), ("\2", "x"), ("\2\3",), ("ef",), ("\2ef\3",)]

    assert list(without_edges(needs)) == [("ab", "cd"), ("ef",)]
