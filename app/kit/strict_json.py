"""JSON at the edge, stricter than the standard library: what passes can be stored and read again.

Refused with a sentence: bytes that are not UTF-8, NaN and infinities (also `1e400`), integers beyond 64 bits, lone
surrogates, duplicate keys, keys that are empty or hold `$` first, `.` or NUL, nesting deeper than 64, and objects of
more than 1000 members. The time it takes grows with the length of the body and with nothing else.
"""

import json
import math
import re
from collections.abc import Callable, Collection
from typing import Any

MAX_DEPTH = 64
MAX_MEMBERS = 1000
"""Of one object: none of ours comes near it, and each unknown member would be a line of the refusal."""
SHOWN_CHARACTERS = 80
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class InvalidJSON(json.JSONDecodeError):
    """A body that is not acceptable JSON; `msg` is a sentence for the client.

    It is a JSONDecodeError because that is what FastAPI expects of a request's `json()`.
    """

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message, "", position)


def loads(body: bytes, *, opaque: Collection[str] = ()) -> Any:
    """Parse `body`; raises InvalidJSON.

    `opaque`: members of the outermost object in which any key is allowed (a JSON Schema has `$ref`), because they are
    stored as text, or because whoever reads them knows all that may be there.
    """
    if (body.count(b"{") + body.count(b"[")) > MAX_DEPTH:
        _check_depth(body)
    decoder = _lenient_decoder if opaque else _decoder
    try:
        value = decoder.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidJSON("the body is not UTF-8", error.start) from error
    except InvalidJSON:
        raise
    except json.JSONDecodeError as error:
        raise InvalidJSON(f"{error.msg} at line {error.lineno}, column {error.colno}", error.pos) from error
    if _SURROGATE_ESCAPE.search(body):
        _check_surrogates(value)
    if opaque:
        _check_all_keys({k: v for k, v in value.items() if k not in opaque} if isinstance(value, dict) else value)
    return value


def _check_depth(body: bytes) -> None:
    """Count open brackets outside strings, without recursion."""
    depth = 0
    for token in _BRACKETS.finditer(body):
        match token.group():
            case b"{" | b"[":
                depth += 1
                if depth > MAX_DEPTH:
                    raise InvalidJSON(f"the body is nested deeper than {MAX_DEPTH} levels", token.start())
            case b"}" | b"]":
                depth -= 1


# The closing quote is optional: a string without an end would otherwise be read again from each of its quotes.
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[{}\[\]]', re.DOTALL)


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidJSON("a string holds half of a surrogate pair, which is not a character") from error


def _check_all_keys(value: Any) -> None:
    if isinstance(value, dict):
        _check_keys(value)
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _check_all_keys(each)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = _any_object(pairs)
    _check_keys(result)
    return result


def _any_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_MEMBERS:
        raise InvalidJSON(f"an object has more than {MAX_MEMBERS} members")
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InvalidJSON("an object has the same key twice")
    return result


def _check_keys(result: dict[str, Any]) -> None:
    for key in result:
        if not key or key[0] == "$" or "." in key or "\0" in key:
            shown = repr(key[:SHOWN_CHARACTERS])
            raise InvalidJSON(f"the key {shown} is not allowed: it is empty, begins with '$' or holds '.' or NUL")


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= (value := int(digits)) < 2**63:
        raise InvalidJSON("an integer does not fit into 64 bits")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidJSON("a number is too large")
    return value


def _constant(name: str) -> float:
    raise InvalidJSON(f"{name} is not JSON")


def _make_decoder(objects: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=objects, parse_int=_integer, parse_float=_number, parse_constant=_constant
    )


_decoder = _make_decoder(_object)
_lenient_decoder = _make_decoder(_any_object)
