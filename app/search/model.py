"""The collections of the index. Rows are written and read as they are; `store` says what is in them.

Their names count the forms of the index, as the mark of rows does: servers of two versions build and clear their own.
"""

from beanie import Document


class SearchIndex(Document):
    """Which segments an index is made of, and who builds it."""

    id: str  # type: ignore[assignment]

    class Settings:
        name = "search_indexes_v2"


class SearchSegment(Document):
    """A segment's outline."""

    class Settings:
        name = "search_segments_v2"


class SearchBlock(Document):
    """Terms and their lists; `_id`: the segment's and four bytes more, the block's number."""

    id: bytes  # type: ignore[assignment]

    class Settings:
        name = "search_blocks_v2"


class SearchKeys(Document):
    """Keys; `_id`: the segment's and four bytes more, the chunk's number."""

    id: bytes  # type: ignore[assignment]

    class Settings:
        name = "search_keys_v2"


class SearchRemoved(Document):
    """A group of rows that was removed from the table and not yet from the segments."""

    class Settings:
        name = "search_removed_v2"
