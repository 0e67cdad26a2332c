"""Files of exports, opened again by other people's readers, and rows to put into them."""

import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import openpyxl
import pyarrow.parquet as pq
from bson import ObjectId

from app.conversations.model import Conversation, Message
from app.kit.export.xlsx_cell import unescape
from app.kit.repository import Row
from app.services import Services

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
Table = list[list[Any]]


async def fill(services: Services, owner_id: ObjectId, texts: Iterable[str], **fields: Any) -> list[Row]:
    """A conversation of these texts, a millisecond apart, stored as they are; answers the messages' rows."""
    conversation = Conversation(owner_id=owner_id, title="Filled", created_at=START, **fields)
    messages = [
        Message(
            conversation_id=conversation.id,
            owner_id=owner_id,
            seq=seq,
            role="user" if seq % 2 else "assistant",
            content=text,
            created_at=START + timedelta(milliseconds=seq),
        )
        for seq, text in enumerate(texts, start=1)
    ]
    conversation.last_seq = conversation.message_count = len(messages)
    await services.conversations.rows.insert_many([conversation])
    return await services.conversations.messages.insert_many(messages) if messages else []


async def export(client: httpx.AsyncClient, resource: str, **parameters: str) -> httpx.Response:
    response = await client.get(f"/api/{resource}/export", params=parameters)
    assert response.status_code == 200, response.text
    return response


def read_csv(data: bytes | bytearray) -> Table:
    csv.field_size_limit(1 << 24)
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))


def read_jsonl(data: bytes | bytearray) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def open_xlsx(data: bytes) -> Any:
    return openpyxl.load_workbook(io.BytesIO(data))


def read_xlsx(data: bytes) -> Table:
    """The rows of the first sheet; empty cells are None."""
    rows = open_xlsx(data).worksheets[0].values
    return [[unescape(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]


def read_parquet(data: bytes) -> Table:
    """The rows under the labels of their columns."""
    table = pq.read_table(io.BytesIO(data))
    labels = [field.metadata[b"label"].decode() for field in table.schema]
    return [labels, *map(list, zip(*(each.to_pylist() for each in table.columns), strict=True))]


def column(table: Table, label: str) -> list[Any]:
    """The cells under this heading."""
    index = table[0].index(label)
    return [row[index] for row in table[1:]]
