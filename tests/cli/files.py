"""Files to import, and waiting for what another process does to the database."""

import json
import time
from collections.abc import Callable
from pathlib import Path

SENTENCES = ("知道恋恋笔记本这部电影吗？", "=1+1, one mocha", 'she said "yes"\nand left', "👍")


def write_conversations(path: Path, count: int, messages: int = 4) -> Path:
    """JSON Lines of conversations c-0, c-1, ... whose messages begin with their place: "3/0 ..."."""
    lines = []
    for number in range(count):
        said = [
            {"role": "user" if n % 2 == 0 else "assistant", "content": f"{number}/{n} {SENTENCES[n % 4]}"}
            for n in range(messages)
        ]
        lines.append(json.dumps({"id": f"c-{number}", "title": f"Title {number}", "messages": said}))
    path.write_text("\n".join(lines) + "\n")
    return path


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)
