"""What a poisoned image may do to its process; these run inside the sandbox."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def harmless(number: int) -> dict[str, Any]:
    """Answer."""
    return {"number": number}


def count(to: int, tell: Callable[[float], None]) -> dict[str, Any]:
    """Tell the share done, again and again."""
    for number in range(to):
        tell((number + 1) / to)
    return {"number": to}


def crash() -> dict[str, Any]:
    """Die as native code does that writes where it must not."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def hang() -> dict[str, Any]:
    """Never answer."""
    while True:
        time.sleep(60)


def spin() -> dict[str, Any]:
    """Burn processor time for ever."""
    while True:
        pass


def devour(mb: int) -> dict[str, Any]:
    """Take memory."""
    return {"sum": int(np.ones(mb * 1024 * 1024, np.uint8)[::4096].sum())}


def identify() -> dict[str, Any]:
    """Answer the number of the process."""
    return {"pid": os.getpid()}


def fail() -> dict[str, Any]:
    """Fail as no caller expects."""
    raise ZeroDivisionError
