"""The access log: one JSON line for each request, and for the moments of the service's life."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

access_log = logging.getLogger("pipelines.service.access")


def log_event(event: str, *, level: str = "info", **values: Any) -> None:
    """Write one line."""
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    access_log.info(
        "%s", json.dumps({"ts": moment, "level": level, "event": event, **values}, ensure_ascii=True, default=str)
    )
