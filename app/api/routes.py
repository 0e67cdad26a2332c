"""All routes of the REST face."""

from fastapi import FastAPI

from app.api import (
    audit,
    auth,
    conversations,
    erasures,
    export_schedules,
    exports,
    health,
    holds,
    hooks,
    imports,
    keys,
    messages,
    metrics,
    personal_data,
    retention,
    search,
    sharing,
    socket,
    stats,
    training,
    turns,
    users,
    webhook_events,
    webhooks,
)

RESOURCES = (
    conversations,
    messages,
    turns,
    users,
    keys,
    search,
    stats,
    exports,
    export_schedules,
    imports,
    training,
    socket,
    webhooks,
    hooks,
    sharing,
    auth,
    audit,
    personal_data,
    holds,
    erasures,
    retention,
)  # the busiest first: routes are matched in this order


def add_routes(app: FastAPI) -> None:
    """The resources under /api, the probes and metrics beside them, and what webhooks are told."""
    for module in RESOURCES:
        app.include_router(module.routes, prefix="/api")
    app.include_router(sharing.public, prefix="/api")
    app.include_router(health.routes)
    app.include_router(metrics.routes)
    app.webhooks.include_router(webhook_events.told)
