"""Sending the file of a finished export, or a part of it."""

import base64
from collections.abc import Mapping

from starlette.responses import Response

from app.api.jobs import StoredFileResponse
from app.api.ranges import Part, Unsatisfiable, parse_range
from app.exports.writing import FILE
from app.jobs.files import JobFiles
from app.kit.errors import RangeNotSatisfiable
from app.kit.export import FORMATS
from app.kit.repository import Row


def send_file(files: JobFiles, row: Row, asked: Mapping[str, str]) -> Response:
    """The completed export's file. `asked`: the request's headers, by their names in small letters.

    A download that was cut off goes on with `Range` and `If-Range`. Raises RangeNotSatisfiable.
    """
    size, tag = row["bytes"], f'"{row["sha256"]}"'
    headers = _headers(row, tag)
    if tag in asked.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    part = _part(asked, tag, size)
    if part is None:
        return _sent(files, row, Part(0, size), 200, headers)
    headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{size}"
    return _sent(files, row, part, 206, headers)


def _sent(files: JobFiles, row: Row, part: Part, status: int, headers: Mapping[str, str]) -> Response:
    chunks = files.read(row["_id"], FILE, part.start, part.end)
    return StoredFileResponse(chunks, part.end - part.start, FORMATS[row["format"]].media_type, headers, status)


def _part(asked: Mapping[str, str], tag: str, size: int) -> Part | None:
    if asked.get("if-range", tag) != tag:
        return None  # the client has a part of another file: it gets all of this one
    try:
        return parse_range(asked.get("range"), size)
    except Unsatisfiable as error:
        raise RangeNotSatisfiable(
            f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"}
        ) from error


def _headers(row: Row, tag: str) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(row["sha256"])).decode()
    return {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{row["filename"]}"',
        "Cache-Control": "private, no-cache",
        "Repr-Digest": f"sha-256=:{digest}:",
    }
