"""Whose account the model calls of a turn go to."""

from app.kit.repository import Row
from app.limits.model import Quota
from app.limits.quotas import Payer


def payer_of(turn: Row) -> Payer:
    """Of a turn that was stored before there were payers, its owner."""
    payer = turn.get("payer")
    if payer is None:
        return Payer(turn["owner_id"])
    quota = payer["key_quota"]
    return Payer(payer["user_id"], payer["key_id"], None if quota is None else Quota(**quota))
