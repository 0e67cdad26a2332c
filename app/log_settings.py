"""What a server tells of itself: settings of logs, metrics and traces."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class LogSettings(BaseSettings):
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe line to log")
    log_format: Literal["console", "json"] = Field("console", description="for people, or for machines")
    log_output: Literal["auto", "stdout", "stderr"] = Field(
        "auto", description="where lines go; auto: JSON to standard output, others to standard error"
    )
    log_file: Path | None = Field(None, description="file that JSON lines go to besides; each worker has its own")
    log_file_bytes: int = Field(50 * 1024 * 1024, ge=4096, description="size at which the log file is put aside")
    log_file_backups: int = Field(5, ge=1, le=1000, description="log files that were put aside and are kept")
    metrics_key: SecretStr | None = Field(None, description="who has it may read /metrics; admins may anyway")
    slow_query_seconds: float = Field(1.0, gt=0, description="commands of MongoDB that take longer are logged")
    otel_endpoint: str | None = Field(
        None, pattern=r"^https?://[^\s?#]+$", description="OpenTelemetry collector that traces go to, by OTLP over HTTP"
    )
