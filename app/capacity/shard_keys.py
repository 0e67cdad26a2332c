"""The shard key of each collection that grows with what people write; all others stay on one shard, unsharded.

`docs/scale-out.md` says why. A unique index can be kept on a sharded collection only if its first fields are the shard
key's: `unfit` names those that are not, and that have to be replaced before.
"""

from dataclasses import dataclass
from typing import Literal

HASHED: Literal["hashed"] = "hashed"
Order = Literal[1, "hashed"]


@dataclass(frozen=True)
class ShardKey:
    collection: str
    key: tuple[tuple[str, Order], ...]
    unfit: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(field for field, _ in self.key)


SHARD_KEYS: tuple[ShardKey, ...] = (
    ShardKey("conversations", (("_id", HASHED),), unfit=("source_v2",)),
    ShardKey("messages", (("conversation_id", HASHED),)),
    ShardKey("turns", (("conversation_id", HASHED),)),
    ShardKey("idempotency_records", (("_id", HASHED),)),
    ShardKey("file_chunks", (("kind", 1), ("job_id", 1))),
    ShardKey("webhook_deliveries", (("webhook_id", 1), ("event_id", 1))),
    ShardKey("audit", (("_id", HASHED),)),
    ShardKey("presence", (("_id", HASHED),)),
    ShardKey("rate_counts", (("_id", HASHED),)),
)
