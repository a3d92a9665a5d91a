"""Every line is JSON, whoever writes it, and the same again is counted instead of written."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from service.logs import JsonLines, Seldom, take_loggers


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the root logger writes."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonLines())
    logging.root.addHandler(handler)
    yield text
    logging.root.removeHandler(handler)


def test_a_library_with_a_handler_of_its_own_writes_json(lines: io.StringIO) -> None:
    logger = logging.getLogger("chatty")
    own = io.StringIO()
    logger.addHandler(logging.StreamHandler(own))
    logger.propagate = False
    take_loggers("chatty")
    for _ in range(5000):
        logger.warning("the database is away: %s", "again\nand again")
    logger.error("another matter")
    assert own.getvalue() == ""
    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [line["message"] for line in told] == [
        "the database is away: again\nand again", "another matter"
    ]  # fmt: skip


def test_what_was_left_out_is_counted() -> None:
    moment = [0.0]
    seldom = Seldom(clock=lambda: moment[0])

    def passes() -> bool:
        record = logging.LogRecord("x", logging.WARNING, "file.py", 7, "text", None, None)
        written = seldom.filter(record)
        left_out.append(getattr(record, "left_out", 0))
        return written

    left_out: list[int] = []
    assert [passes() for _ in range(4)] == [True, False, False, False]
    moment[0] = 10.0
    assert passes()
    assert left_out[-1] == 3


def test_errors_that_nobody_catches_are_json_too() -> None:
    code = (
        "import threading; from service.logs import set_up_logging; set_up_logging()\n"
        "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()\n"
        "raise RuntimeError('the end')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in told] == ["critical", "critical"]
    assert "ZeroDivisionError" in told[0]["exception"]
    assert "the end" in told[1]["exception"]
