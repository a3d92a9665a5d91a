"""Logs are one JSON object per line on stderr: no keys, no query strings, no image metadata."""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """Write a record as one line of JSON, with what was given as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _PLAIN},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def set_up_logging() -> None:
    """Send the logs of the service and its server to stderr, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)  # libraries' warnings as lines too
    logging.getLogger("uvicorn.access").disabled = True
    threading.excepthook = _log_thread
    sys.excepthook = _log_end


def _log_thread(problem: threading.ExceptHookArgs) -> None:
    if problem.exc_value is not None and problem.exc_type is not SystemExit:
        trace = (problem.exc_type, problem.exc_value, problem.exc_traceback)
        logging.getLogger("crackseg").critical("a thread ended by an error", exc_info=trace)


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    record = (kind, error, trace)
    logging.getLogger("crackseg").critical("the process ended by an error", exc_info=record)
