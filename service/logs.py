"""Logs are one JSON object per line on stderr: no keys, no query strings, no image metadata."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType

_SELDOM_S = 10.0
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
    logging.getLogger("dbos").setLevel(logging.WARNING)
    threading.excepthook = _log_thread
    sys.excepthook = _log_end


def take_loggers(library: str) -> None:
    """Let a library's loggers write as all others do: some bring a handler of their own.

    What is the same again within ten seconds is counted instead: a database that is away for a
    minute would be told of thousands of times.
    """
    for name in [library, *logging.root.manager.loggerDict]:
        if name == library or name.startswith(f"{library}."):
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
            logger.addFilter(Seldom())


class Seldom(logging.Filter):
    """Lets a message through once in ten seconds, with how many were left out before it."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is written."""
        place = (record.pathname, record.lineno)
        moment = self._clock()
        last, left_out = self._last.get(place, (float("-inf"), 0))
        if moment - last < _SELDOM_S:
            self._last[place] = (last, left_out + 1)
            return False
        self._last[place] = (moment, 0)
        if left_out:
            record.left_out = left_out
        return True


def _log_thread(problem: threading.ExceptHookArgs) -> None:
    if problem.exc_value is not None and problem.exc_type is not SystemExit:
        told = (problem.exc_type, problem.exc_value, problem.exc_traceback)
        logging.getLogger("crackseg").critical("a thread ended by an error", exc_info=told)


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    told = (kind, error, trace)
    logging.getLogger("crackseg").critical("the process ended by an error", exc_info=told)
