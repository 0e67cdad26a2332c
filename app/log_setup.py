"""Logs as the settings say: what a server that starts does first."""

from typing import Literal

from app.config import Settings
from app.kit.errors import Unavailable
from app.kit.logs import LogFile, configure_logs


def start_logs(settings: Settings, *, worker: int | None = None) -> None:
    """Log as the settings say. Raises Unavailable when the file cannot be written."""
    file = settings.log_file
    try:
        configure_logs(
            settings.log_level,
            settings.log_format,
            output=log_output(settings),
            file=None if file is None else LogFile(file, settings.log_file_bytes, settings.log_file_backups),
            worker=worker,
        )
    except OSError as error:
        sentence = f"The log file {file} cannot be written ({error.strerror}): see VERBATIM_LOG_FILE."
        raise Unavailable(sentence) from error


def log_output(settings: Settings) -> Literal["stdout", "stderr"]:
    """Where lines go."""
    if settings.log_output == "auto":
        return "stdout" if settings.log_format == "json" else "stderr"
    return settings.log_output
