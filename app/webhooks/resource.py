"""The tables of webhooks, deliveries and hooks. Secrets and bodies are no columns, so that no list ever shows them."""

from typing import get_args

from app.kit.resource import Column, Resource
from app.webhooks.model import DELIVERY_STATES, HOOK_ROLES, EventType, NoticeType

WEBHOOKS = Resource(
    name="webhooks",
    singular="webhook",
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("owner_id", "Owner", "id", filterable=True),
        Column("url", "URL"),
        Column("events", "Events", "texts"),
        Column("description", "Description"),
        Column("active", "Active", "boolean", filterable=True),
        Column("hears_all", "Hears of all", "boolean"),
        Column("failing_since", "Failing since", "instant", nullable=True),
        Column("disabled_reason", "Why it is off", nullable=True),
        Column("version", "Version", "integer"),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
        Column("updated_at", "Updated", "instant"),
    ),
)

DELIVERIES = Resource(
    name="deliveries",
    singular="delivery",
    columns=(
        Column("id", "Id", "id"),
        Column("webhook_id", "Webhook", "id"),
        Column("event_id", "Event", filterable=True),
        Column("type", "Type", choices=(*get_args(EventType), *get_args(NoticeType)), filterable=True),
        Column("state", "State", choices=DELIVERY_STATES, filterable=True),
        Column("attempts", "Attempts", "integer"),
        Column("next_attempt_at", "Next attempt", "instant", nullable=True),
        Column("response_status", "Status of the last answer", "integer", nullable=True),
        Column("error", "Why the last attempt failed", nullable=True),
        Column("duration_ms", "Duration of the last attempt", "integer", nullable=True),
        Column("finished_at", "Finished", "instant", nullable=True),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
    ),
)

HOOKS = Resource(
    name="hooks",
    singular="hook",
    columns=(
        Column("id", "Id", "id", filterable=True),
        Column("owner_id", "Owner", "id", filterable=True),
        Column("conversation_id", "Conversation", "id", filterable=True),
        Column("name", "Name"),
        Column("role", "Role", choices=HOOK_ROLES),
        Column("created_at", "Created", "instant", filterable=True, sortable=True),
    ),
)
