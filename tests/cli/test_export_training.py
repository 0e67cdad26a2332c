"""`verbatim export-training`: the same lines as over HTTP, with their report beside them."""

import hashlib
import json

import pytest

from tests.cli.command import Verbatim
from tests.exports.files import read_jsonl
from tests.exports.training.rules import CHECKS

pytestmark = [pytest.mark.mongod, pytest.mark.slow]

CONVERSATIONS = (
    [("user", "恋恋笔记本?"), ("assistant", "知道。")],
    [("user", "one"), ("assistant", "1"), ("user", "two")],
    [("user", "nobody answers")],
)


@pytest.fixture
def filled(verbatim: Verbatim) -> Verbatim:
    """The command line on a database with three conversations: whole, with a question too much, without an answer."""
    lines = [
        {"id": f"c-{number}", "tags": [f"t{number}"], "messages": [{"role": r, "content": c} for r, c in messages]}
        for number, messages in enumerate(CONVERSATIONS)
    ]
    (verbatim.folder / "talks.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    verbatim("import", "talks.jsonl")
    return verbatim


@pytest.mark.parametrize("format", ["openai-chat", "sharegpt"])
def test_lines_and_report_appear_together(filled: Verbatim, format: str) -> None:
    done = filled("export-training", "-o", "train.jsonl", "--format", format)
    data = (filled.folder / "train.jsonl").read_bytes()
    *reported, last = read_jsonl((filled.folder / "train.report.jsonl").read_bytes())

    assert len(read_jsonl(data)) == 2
    for line in read_jsonl(data):
        CHECKS[format](line)
    assert [(each["left_out"], each["code"]) for each in reported] == [
        ("rest", "no_answer"),
        ("conversation", "no_answer"),
    ]
    assert last["summary"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert done.stdout.splitlines() == [
        "train.jsonl: 2 lines of 3 conversations",
        "train.report.jsonl: left out: conversations 1, rests 1 (no_answer 2)",
    ]


def test_filters_and_options_are_those_of_the_api(filled: Verbatim) -> None:
    done = filled("export-training", "-o", "some.jsonl", "--filter", "tags=t0", "--report", "why.jsonl", "--no-system")

    assert len(read_jsonl((filled.folder / "some.jsonl").read_bytes())) == 1
    assert done.stdout.endswith("why.jsonl: nothing was left out\n")
    summary = read_jsonl((filled.folder / "why.jsonl").read_bytes())[0]["summary"]
    assert (summary["filter"], summary["options"]["include_system"]) == ({"tags": "t0"}, False)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-o", "there.jsonl"), "verbatim: there.jsonl exists; say --force to replace it."),
        (("-o", "a.jsonl", "--report", "there.jsonl"), "verbatim: there.jsonl exists; say --force to replace it."),
        (("-o", "a.jsonl", "--report", "a.jsonl"), "verbatim: --output and --report name the same file."),
        (("-o", "absent/a.jsonl"), "verbatim: absent/a.jsonl cannot be written: No such file or directory."),
        (("-o", "a.jsonl", "--report", "absent/a.jsonl"), "verbatim: absent/a.jsonl cannot be written: "),
        (("-o", "a.jsonl", "--filter", "limit=5"), "verbatim: --filter limit: is not a parameter of this list"),
        (
            ("-o", "a.jsonl", "--assume-latest-preferred"),
            "verbatim: --assume-latest-preferred means nothing to openai-chat.",
        ),
        (
            ("-o", "a.jsonl", "--format", "trl-preference", "--min-rating", "up"),
            "verbatim: --min-rating means nothing to trl-preference.",
        ),
    ],
)
def test_what_cannot_be_exported_is_one_sentence_and_no_file(
    filled: Verbatim, arguments: tuple[str, ...], sentence: str
) -> None:
    (filled.folder / "there.jsonl").write_text("precious")
    before = sorted(each.name for each in filled.folder.iterdir())
    done = filled("export-training", *arguments, status=1)

    assert done.stdout == ""
    assert sentence in done.stderr
    assert sorted(each.name for each in filled.folder.iterdir()) == before
    assert (filled.folder / "there.jsonl").read_text() == "precious"
