"""Every line is JSON, whoever writes it."""

from __future__ import annotations

import json
import subprocess
import sys


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
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in records] == ["critical", "critical"]
    assert "ZeroDivisionError" in records[0]["exception"]
    assert "the end" in records[1]["exception"]
