"""Training data of all conversations of a list: the file, its report, or both in one go."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime

from app import __version__
from app.exports.service import Export
from app.exports.training.formats import TRAINING_FORMATS, TrainingFormat
from app.exports.training.model import DEFAULT_MAX_TOKENS, MIN_RATINGS, MOST_TOKENS, MinRating, TrainingOptions
from app.exports.training.reading import TranscriptSource
from app.exports.training.writing import Piece, TrainingWriter
from app.kit.clock import now
from app.kit.errors import FieldError, Invalid
from app.kit.export import FORMATS
from app.kit.export.value import instant_text
from app.kit.listing import Listing


@dataclass(frozen=True)
class TrainingRequest:
    """What a client says about the training data it wants; None is the format's own."""

    format: str = "openai-chat"
    min_rating: str | None = None
    include_system: bool = True
    assume_latest_preferred: bool | None = None
    max_tokens: int = DEFAULT_MAX_TOKENS


_OPTIONS = frozenset(each.name for each in fields(TrainingRequest))


@dataclass(frozen=True)
class TrainingData:
    """Training data that can be written, once."""

    format: TrainingFormat
    options: TrainingOptions
    source: TranscriptSource
    listing: Listing
    started: datetime = field(default_factory=now)

    def pieces(self) -> AsyncGenerator[Piece, None]:
        """The file and its report."""
        about = {
            "options": {name: value for name, value in asdict(self.options).items() if name in self._named},
            "filter": {name: text for name, text in self.listing.asked.items() if name not in _OPTIONS},
            "exported_at": instant_text(self.started),
            "version": __version__,
        }
        return TrainingWriter(self.format, self.options, about).pieces(self.source.batches(self.listing))

    @property
    def _named(self) -> frozenset[str]:
        return self.format.options | {"include_system", "max_tokens"}

    def file(self) -> Export:
        """The lines alone."""
        return self._export("", lambda piece: piece.lines)

    def report(self) -> Export:
        """The report alone, which takes making the lines as well."""
        return self._export("-report", lambda piece: piece.report)

    def _export(self, ending: str, choose: Callable[[Piece], bytes]) -> Export:
        name = f"training-{self.format.name}-{self.started:%Y%m%dT%H%M%SZ}{ending}.jsonl"
        return Export(FORMATS["jsonl"], name, _chosen(self.pieces(), choose))


async def _chosen(pieces: AsyncGenerator[Piece, None], choose: Callable[[Piece], bytes]) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        async for piece in pieces:
            if chunk := choose(piece):
                yield chunk


def prepare_training(source: TranscriptSource, listing: Listing, request: TrainingRequest) -> TrainingData:
    """What the request asks for. Raises Invalid naming every option at fault."""
    if faults := check_training(request):
        raise Invalid.of(faults)
    options = TrainingOptions(
        min_rating=_min_rating(request.min_rating) or "unrated",
        include_system=request.include_system,
        assume_latest_preferred=bool(request.assume_latest_preferred),
        max_tokens=request.max_tokens,
    )
    return TrainingData(TRAINING_FORMATS[request.format], options, source, listing)


def check_training(request: TrainingRequest) -> list[FieldError]:
    """What is wrong with the request."""
    format = TRAINING_FORMATS.get(request.format)
    if format is None:
        return [FieldError("query.format", f"is one of {', '.join(TRAINING_FORMATS)}")]
    given = {"min_rating": request.min_rating, "assume_latest_preferred": request.assume_latest_preferred}
    faults = [
        FieldError(f"query.{name}", f"means nothing to {format.name}")
        for name, value in given.items()
        if value is not None and name not in format.options
    ]
    if request.min_rating is not None and _min_rating(request.min_rating) is None:
        faults.append(FieldError("query.min_rating", f"is one of {', '.join(MIN_RATINGS)}"))
    if not 1 <= request.max_tokens <= MOST_TOKENS:
        faults.append(FieldError("query.max_tokens", f"is a whole number from 1 to {MOST_TOKENS}"))
    return faults


def _min_rating(text: str | None) -> MinRating | None:
    return next((each for each in MIN_RATINGS if each == text), None)
