"""The log of a server: one line for each event, as `key=value` words or as JSON.

The JSON formatter turns the words into fields, so that the code writes every line in one way.
"""

import json
import logging
import re
from datetime import UTC, datetime

from xcomp_protos.telemetry.api import request_id

FORMATS = ("text", "json")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_WORDS = re.compile(r"\w+=\S*(?: \w+=\S*)*")


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        message = record.getMessage()
        fields = dict(word.split("=", 1) for word in message.split(" ")) if _WORDS.fullmatch(message) else None
        line: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            **(fields if fields is not None else {"message": message}),
        }
        if request_id.get():
            line.setdefault("request", request_id.get())
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: str, format_: str) -> None:
    """Sends the log of this process to stderr, with the warnings of libraries."""
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonFormatter() if format_ == "json" else plain)
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(capture=True)
