"""The log of a server: one line for each event, as `key=value` words or as JSON.

The JSON formatter turns the words into fields, so that the code writes every line in one way.
"""

import json
import logging
import re
import threading
import time
from datetime import UTC, datetime

from xcomp_protos.telemetry.api import request_id

FORMATS = ("text", "json")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_WORDS = re.compile(r"\w+=\S*(?: \w+=\S*)*")


class LineFormatter(logging.Formatter):
    """Writes a record as one line that nothing in it can end or color; a traceback follows on lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name that logging calls
        """Returns the line, with escapes for what is not printable."""
        line = super().formatMessage(record)
        return line if line.isprintable() else "".join(map(_escape, line))


def _escape(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


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


class LineLimit:
    """Bounds the lines that strangers can cause: some in each period, then one that counts the others.

    Args:
        log: gets the line that counts.
        what: the lines are about.
        lines: that one period may have.
        period_s: its length.
    """

    def __init__(self, log: logging.Logger, what: str, *, lines: int = 20, period_s: float = 60.0) -> None:
        self._log = log
        self._what = what
        self._lines = lines
        self._period_s = period_s
        self._lock = threading.Lock()
        self._begun = -period_s
        self._seen = 0

    def admit(self) -> bool:
        """Returns whether a line may be written now."""
        with self._lock:
            now, omitted = time.monotonic(), 0
            if now - self._begun >= self._period_s:
                omitted = self._seen - self._lines
                self._begun, self._seen = now, 0
            self._seen += 1
            is_allowed = self._seen <= self._lines
        if omitted > 0:
            self._log.warning("event=lines_omitted count=%d about=%r", omitted, self._what)
        return is_allowed


def configure(level: str, format_: str) -> None:
    """Sends the log of this process to stderr, with the warnings of libraries."""
    handler = logging.StreamHandler()
    plain = LineFormatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonFormatter() if format_ == "json" else plain)
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(capture=True)
