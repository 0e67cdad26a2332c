"""Small transcripts in the format of the real ones, and messages made of them."""

import gzip
import json
from pathlib import Path

import pytest

from app.database import Database
from bench.corpus import Corpus
from bench.stored import Stored, store

SIZE = 400
ENGLISH = [
    *("One chai latte, please.", "Is the order correct?", "Yes!", "It'll be ready in 5 minutes, over at the bar."),
    *("Can I get a mocha, with oat milk, for Jean?", "Okay, anything else?", "No, that is all; thank you."),
]
CHINESE = [
    "知道恋恋笔记本这部电影吗？",
    "知道呀，是一部爱情片。",
    "是哪年上映的呀？",
    "2004年06月25日。",
    "嗯，口碑也还不错！",
]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    for language, texts in (("en", ENGLISH), ("zh", CHINESE)):
        messages = [{"role": "user", "content": text} for text in texts]
        with gzip.open(tmp_path / f"transcripts-{language}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    return Corpus.read(tmp_path)


@pytest.fixture
async def stored(empty_database: Database, corpus: Corpus) -> Stored:
    return await store(empty_database, corpus, SIZE)
