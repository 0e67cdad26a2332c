"""`verbatim export`: the same files as over HTTP, which appear when they are complete."""

from typing import Any

import pytest

from tests.cli.command import Verbatim
from tests.cli.files import SENTENCES, write_conversations
from tests.exports.files import column, read_csv, read_jsonl, read_parquet, read_xlsx

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

READERS: dict[str, Any] = {"csv": read_csv, "XLSX": read_xlsx, "parquet": read_parquet}


@pytest.fixture
def filled(verbatim: Verbatim) -> Verbatim:
    """The command line on a database with three conversations of four messages."""
    write_conversations(verbatim.folder / "talks.jsonl", 3)
    verbatim("import", "talks.jsonl")
    return verbatim


def test_the_ending_names_the_format(filled: Verbatim) -> None:
    expected = sorted(f"{number}/{n} {SENTENCES[n]}" for number in range(3) for n in range(4))
    for ending, read in READERS.items():
        done = filled("export", "messages", "-o", f"all.{ending}", "--raw")
        data = (filled.folder / f"all.{ending}").read_bytes()
        assert done.stdout == f"all.{ending}: {len(data):,} bytes\n"
        assert sorted(column(read(data), "Content")) == expected

    filled("export", "messages", "-o", "all.txt", "--format", "jsonl")
    assert sorted(row["content"] for row in read_jsonl((filled.folder / "all.txt").read_bytes())) == expected


def test_columns_filters_and_order_are_those_of_the_api(filled: Verbatim) -> None:
    options = ("--filter", "role=user", "--filter", "q=1/", "--filter", "sort=created_at", "--columns", "content,seq")
    filled("export", "messages", "-o", "some.jsonl", *options)
    rows = read_jsonl((filled.folder / "some.jsonl").read_bytes())

    assert rows == [
        {"content": "1/0 知道恋恋笔记本这部电影吗？", "seq": 1},
        {"content": '1/2 she said "yes"\nand left', "seq": 3},
    ]


def test_users_conversations_and_turns_are_exported_too(filled: Verbatim) -> None:
    filled("export", "turns", "-o", "turns.csv", "--columns", "model,cost,owner.email")
    filled("export", "users", "-o", "users.csv")
    filled("export", "conversations", "-o", "conversations.csv", "--filter", "title=Title 2")

    assert column(read_csv((filled.folder / "users.csv").read_bytes()), "E-mail") == ["admin@localhost"]
    assert column(read_csv((filled.folder / "conversations.csv").read_bytes()), "Title") == ["Title 2"]
    assert read_csv((filled.folder / "turns.csv").read_bytes()) == [["Model", "Cost (USD)", "Owner: E-mail"]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-o", "there.csv"), "verbatim: there.csv exists; say --force to replace it."),
        (("-o", "all.txt"), "verbatim: The ending of all.txt names no format; say --format csv, xlsx, jsonl, parquet."),
        (("-o", "absent/all.csv"), "verbatim: absent/all.csv cannot be written: No such file or directory."),
        (("-o", "all.csv", "--columns", "secret"), "verbatim: --columns: has no 'secret'; there are id, "),
        (("-o", "all.csv", "--filter", "nonsense"), "verbatim: --filter nonsense: write it as name=value."),
        (("-o", "all.csv", "--filter", "limit=5"), "verbatim: --filter limit: is not a parameter of this list"),
        (("-o", "all.csv", "--filter", "q=(", "--filter", "match=regex"), "verbatim: "),
    ],
)
def test_what_cannot_be_exported_is_one_sentence_and_no_file(
    filled: Verbatim, arguments: tuple[str, ...], sentence: str
) -> None:
    (filled.folder / "there.csv").write_text("precious")
    before = sorted(each.name for each in filled.folder.iterdir())
    done = filled("export", "messages", *arguments, status=1)

    assert done.stdout == ""
    assert sentence in done.stderr
    assert sorted(each.name for each in filled.folder.iterdir()) == before
    assert (filled.folder / "there.csv").read_text() == "precious"


def test_a_file_is_replaced_when_told_so(filled: Verbatim) -> None:
    (filled.folder / "all.csv").write_text("old")
    filled("export", "messages", "-o", "all.csv", "--force")

    assert len(read_csv((filled.folder / "all.csv").read_bytes())) == 13
    assert not list(filled.folder.glob("*.part"))
