"""`verbatim export-training`: conversations as the lines that trainers of language models read."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer
from rich.markup import escape

from app.cli.exports import appearing, filtered, require_absent
from app.cli.running import DataOption, console, run, sentences
from app.conversations.resource import CONVERSATIONS
from app.exports.training.model import DEFAULT_MAX_TOKENS, MOST_TOKENS
from app.exports.training.service import TrainingData, TrainingRequest, check_training, prepare_training
from app.kit.errors import Invalid
from app.kit.repository import EVERYTHING
from app.services import Services


def export_training(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, JSON Lines.")],
    format: Annotated[
        Literal["openai-chat", "openai-preference", "trl-preference", "trl-feedback", "sharegpt"],
        typer.Option(help="For which trainer."),
    ] = "openai-chat",
    report: Annotated[
        Path | None,
        typer.Option(help="What was left out and why.  [default: OUTPUT with .report.jsonl]", show_default=False),
    ] = None,
    filter: Annotated[
        list[str] | None,
        typer.Option(help="Of conversations, as in the API: tags=film, created_at__gte=2026-01-01, q=text."),
    ] = None,
    min_rating: Annotated[
        Literal["down", "unrated", "up"] | None,
        typer.Option(help="The lowest rating of answers to learn from.  [default: unrated]", show_default=False),
    ] = None,
    system: Annotated[bool, typer.Option(help="With system prompts and messages.")] = True,
    assume_latest_preferred: Annotated[
        bool, typer.Option("--assume-latest-preferred", help="Of answers rated alike the kept one is the better one.")
    ] = False,
    max_tokens: Annotated[
        int, typer.Option(min=1, max=MOST_TOKENS, help="The most tokens of a line, as estimated.")
    ] = DEFAULT_MAX_TOKENS,
    force: Annotated[bool, typer.Option(help="Replace the files if they are there.")] = False,
    data: DataOption = None,
) -> None:
    """Write conversations as training data, and a report of what was left out. Both files appear when complete."""
    reported = report or output.with_suffix(".report.jsonl")
    request = TrainingRequest(format, min_rating, system, assume_latest_preferred or None, max_tokens)
    with sentences():
        listing = filtered(CONVERSATIONS, filter or [])
        if faults := check_training(request):
            option = faults[0].field.removeprefix("query.").replace("_", "-")
            raise Invalid(f"--{option} {faults[0].message}.")
        if reported == output:
            raise Invalid("--output and --report name the same file.")
        require_absent(output, reported, force=force)

    async def work(services: Services) -> dict[str, Any]:
        made = prepare_training(services.transcripts(lambda _: EVERYTHING), listing, request)
        with console.status(f"Writing {escape(output.name)}"):
            return await _save(made, output, reported)

    summary = run(data, work)
    print(f"{output}: {summary['lines']:,} lines of {summary['conversations']:,} conversations")
    print(f"{reported}: {_said(summary)}")


async def _save(made: TrainingData, output: Path, report: Path) -> dict[str, Any]:
    """Write both files; answers the summary."""
    last = b""
    async with aclosing(made.pieces()) as pieces, appearing(output, report) as (lines, reported):
        async for piece in pieces:
            await asyncio.to_thread(lines.write, piece.lines)
            await asyncio.to_thread(reported.write, piece.report)
            last = piece.report
    summary: dict[str, Any] = orjson.loads(last)["summary"]
    return summary


def _said(summary: dict[str, Any]) -> str:
    """What was left out, in words."""
    parts, reasons = (
        ", ".join(f"{name} {count:,}" for name, count in summary[member].items() if count)
        for member in ("left_out", "reasons")
    )
    return f"left out: {parts} ({reasons})" if parts else "nothing was left out"
