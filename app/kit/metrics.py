"""What is counted, for Prometheus: every metric of the process in one table. No label holds what people wrote, or who.

Times are in seconds. Labels are bounded: routes are templates, models are named by their provider alone.
"""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from app.kit import worker_metrics

__all__ = ["CONTENT_TYPE_LATEST", "exposition"]

worker_metrics.share()

_LATENCY = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_COMMAND = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 20)
_ANSWER = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

starts = Counter("verbatim_starts", "Starts of server processes; workers that died and were started again among them")
requests = Counter("verbatim_http_requests", "Requests that were answered", ["method", "route", "status"])
request_seconds = Histogram(
    "verbatim_http_request_seconds",
    "From the request to the last byte of its answer",
    ["method", "route"],
    buckets=_LATENCY,
)
requests_running = Gauge(
    "verbatim_http_requests_running", "Requests that are being answered", multiprocess_mode="livesum"
)
log_lines_lost = Counter("verbatim_log_lines_lost", "Lines that were not written to the log file: the disk is too slow")
errors = Counter("verbatim_errors", "Errors that clients were told of", ["code"])

commands = Histogram(
    "verbatim_mongo_command_seconds",
    "Commands to MongoDB as the driver sees them",
    ["command", "outcome"],
    buckets=_COMMAND,
)
connections = Gauge("verbatim_mongo_connections", "Connections to MongoDB", ["state"], multiprocess_mode="livesum")
change_lag = Gauge(
    "verbatim_change_stream_lag_seconds", "Age of the newest change when it came", multiprocess_mode="livemax"
)
primary = Gauge("verbatim_mongo_primary", "Whether MongoDB has a primary: 1, or 0", multiprocess_mode="livemin")
requests_held = Gauge(
    "verbatim_http_requests_held", "Requests that wait for MongoDB to have a primary", multiprocess_mode="livesum"
)
transactions_repeated = Counter("verbatim_mongo_transactions_repeated", "Transactions that had to be tried again")

turns = Counter("verbatim_turns", "Turns that ended", ["state", "provider"])
turns_running = Gauge("verbatim_turns_running", "Turns that run in this process", multiprocess_mode="livesum")
first_token_seconds = Histogram(
    "verbatim_turn_first_token_seconds", "From the turn's creation to its first token", ["provider"], buckets=_ANSWER
)
turn_seconds = Histogram("verbatim_turn_seconds", "From the turn's creation to its end", ["provider"], buckets=_ANSWER)
tokens = Counter("verbatim_tokens", "Tokens that models read and wrote", ["provider", "kind"])
cost = Counter("verbatim_cost_usd", "What models cost by the prices that are set", ["provider"])
calls_waiting = Gauge(
    "verbatim_upstream_calls_waiting",
    "Calls waiting for a slot of their upstream",
    ["provider"],
    multiprocess_mode="livesum",
)
log_rows = Histogram("verbatim_turn_log_rows", "Rows that one write of the turns' logs stores", buckets=_ROWS)
log_seconds = Histogram("verbatim_turn_log_seconds", "What one write of the turns' logs takes", buckets=_COMMAND)

queue = Gauge(
    "verbatim_queue",
    "Work that waits in the database, up to 1000; every process shows the same",
    ["queue"],
    multiprocess_mode="livemax",
)

exports = Counter("verbatim_exports", "Exports that ended, as answers and as jobs", ["format", "outcome"])
imports = Counter("verbatim_imports", "Import jobs that ended", ["outcome"])
export_bytes = Counter("verbatim_export_bytes", "Bytes of exports that were sent or stored", ["format"])
scans_waiting = Gauge(
    "verbatim_scans_waiting", "Searches that wait for their turn to read rows", multiprocess_mode="livesum"
)

tasks = Gauge("verbatim_asyncio_tasks", "Tasks of the event loop, running or waiting", multiprocess_mode="livesum")


def exposition() -> bytes:
    """All of them, of all workers, with those of the processes themselves, in Prometheus's text format. Reads files."""
    return generate_latest(worker_metrics.registry_of_all() or REGISTRY)
