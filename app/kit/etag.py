"""ETags: a row's version in quotes. `If-Match` guards writes, `If-None-Match` saves answers."""

import re

Versions = frozenset[int] | None
"""The versions a write may replace; None means whichever is stored."""

_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_TAG = re.compile(r'(W/)?"([^"]*)"')


def etag(version: int) -> str:
    return f'"{version}"'


def parse_if_match(header: str | None) -> Versions:
    """The versions the client accepts; a weak or foreign tag names none, so that it never matches."""
    if header is None or header.strip() == "*":
        return None
    return frozenset(int(tag) for weak, tag in _TAG.findall(header) if not weak and _VERSION.fullmatch(tag))


def is_unchanged(header: str | None, version: int) -> bool:
    """Whether `If-None-Match` names this version already."""
    if header is None:
        return False
    return header.strip() == "*" or any(tag == str(version) for _, tag in _TAG.findall(header))
