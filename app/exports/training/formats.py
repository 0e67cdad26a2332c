"""The formats of training data by the name a client asks for."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.exports.training.chat import make_chat
from app.exports.training.feedback import make_trl_feedback
from app.exports.training.model import Maker
from app.exports.training.preference import make_openai_pairs, make_trl_pairs
from app.exports.training.sharegpt import make_sharegpt


@dataclass(frozen=True)
class TrainingFormat:
    """`options`: those that mean something to it, beside the ones of all formats."""

    name: str
    make: Maker
    options: frozenset[str]


_OF_CONVERSATIONS = frozenset({"min_rating"})
_OF_PAIRS = frozenset({"assume_latest_preferred"})

TRAINING_FORMATS: Mapping[str, TrainingFormat] = {
    each.name: each
    for each in (
        TrainingFormat("openai-chat", make_chat, _OF_CONVERSATIONS),
        TrainingFormat("openai-preference", make_openai_pairs, _OF_PAIRS),
        TrainingFormat("trl-preference", make_trl_pairs, _OF_PAIRS),
        TrainingFormat("trl-feedback", make_trl_feedback, frozenset()),
        TrainingFormat("sharegpt", make_sharegpt, _OF_CONVERSATIONS),
    )
}
