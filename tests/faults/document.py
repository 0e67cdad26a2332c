"""The OpenAPI document as schemathesis reads it, and which of its checks hold here."""

import schemathesis
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok

from app.config import Settings
from app.main import build_app

load_all_checks()
SCHEMA = schemathesis.openapi.from_dict(build_app(Settings(_env_file=None)).openapi())
SCHEMA.config.phases.stateful.inference.algorithms = []  # sequences go along the document's own links
OPERATIONS = {each.ok().label: each.ok() for each in SCHEMA.get_all_operations() if isinstance(each, Ok)}
# A sentence of ours may be stricter than a schema can say: an e-mail address, a time zone, a cursor, a NUL.
EXCLUDED = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]
# Refused unread, which schemathesis does not count among the refusals of wrong data.
TOO_LARGE = frozenset({413, 414, 431})
UNREAD = [*EXCLUDED, schemathesis.checks.CHECKS.get_one("negative_data_rejection")]
