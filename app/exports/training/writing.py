"""Lines of training data as bytes, and beside them the report: what was left out and why, and last what there is.

The report is JSON Lines too. Each line names a conversation, what of it was left out and the reason; the last one is
the summary, with the number of lines, their bytes and their SHA-256: who has the file can tell that both belong
together, and a report without it is not whole.
"""

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from app.exports.training.formats import TrainingFormat
from app.exports.training.model import PARTS, REASONS, Line, Omission, TrainingOptions, Transcript
from app.kit.export.value import json_bytes
from app.kit.export.worker import closing
from app.kit.threads import in_thread

PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Piece:
    """The next bytes of the file and of its report."""

    lines: bytes = b""
    report: bytes = b""


class TrainingWriter:
    """Makes the lines of transcripts and counts."""

    def __init__(self, format: TrainingFormat, options: TrainingOptions, about: Mapping[str, Any]) -> None:
        """`about`: what the summary says besides."""
        self._format = format
        self._options = options
        self._about = about
        self._sum = hashlib.sha256()
        self._counts: Counter[str] = Counter()
        self._parts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    async def pieces(self, batches: AsyncIterator[Sequence[Transcript]]) -> AsyncGenerator[Piece, None]:
        """All of it; the lines are made in threads. Closes `batches`."""
        async with closing(batches):
            async for transcripts in batches:
                made = self._made(transcripts)
                while piece := await in_thread(partial(next, made, None)):
                    yield piece
        yield Piece(report=_line({"summary": self.summary()}))

    def summary(self) -> dict[str, Any]:
        return {
            "format": self._format.name,
            **self._about,
            **{name: self._counts[name] for name in ("conversations", "lines", "bytes")},
            "sha256": self._sum.hexdigest(),
            "left_out": {f"{part}s": self._parts[part] for part in PARTS},
            "reasons": dict(sorted(self._reasons.items())),
        }

    def _made(self, transcripts: Sequence[Transcript]) -> Iterator[Piece]:
        """The transcripts' lines and report, in pieces that end with the line that fills them."""
        lines, report = bytearray(), bytearray()
        for transcript in transcripts:
            self._counts["conversations"] += 1
            for made in self._format.make(transcript, self._options):
                if isinstance(made, Omission):
                    report += self._reported(transcript, made)
                else:
                    lines += self._counted(made)
                if len(lines) + len(report) >= PIECE_BYTES:
                    yield self._piece(lines, report)
                    lines, report = bytearray(), bytearray()
        yield self._piece(lines, report)

    def _counted(self, line: Line) -> bytes:
        self._counts["lines"] += 1
        return _line(line)

    def _piece(self, lines: bytearray, report: bytearray) -> Piece:
        self._sum.update(lines)
        self._counts["bytes"] += len(lines)
        return Piece(bytes(lines), bytes(report))

    def _reported(self, transcript: Transcript, omission: Omission) -> bytes:
        self._parts[omission.part] += 1
        self._reasons[omission.code] += 1
        return _line(
            {
                "conversation_id": transcript.conversation["_id"],
                "left_out": omission.part,
                "code": omission.code,
                "seq": omission.seq,
                "detail": REASONS[omission.code],
            }
        )


def _line(value: Mapping[str, Any]) -> bytes:
    return json_bytes(value, orjson.OPT_APPEND_NEWLINE)
