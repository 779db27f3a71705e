"""Logging: text to read, or JSON lines with whatever a record was given beside its message."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone

from .config import LogSettings

_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
# Kafka's clients report each attempt that they repeat by themselves; what lasts comes to us as an error.
_LEVELS = {
    **dict.fromkeys(("faust", "mode", "aiokafka", "rasterio", "alembic", "httpx"), "WARNING"),
    "kafka": "ERROR",
    "aiokafka.consumer.group_coordinator": "CRITICAL",
}


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, message, and the record's extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update({k: v for k, v in vars(record).items() if k not in _PLAIN})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure(settings: LogSettings) -> None:
    """Send every logger to standard error; libraries are quieter unless level is DEBUG."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.form == "json":
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(settings.level)
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel("DEBUG" if settings.level == "DEBUG" else level)
