"""`verbatim openapi`: the description of the API, for generators and for the snapshot in `docs/`."""

import json

from app.config import Settings
from app.main import build_app


def openapi() -> None:
    """Print the OpenAPI document."""
    print(json.dumps(build_app(Settings()).openapi(), indent=1, ensure_ascii=False))
