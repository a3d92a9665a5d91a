"""Where the service lies below its proxy: every address it names begins with the prefix.

The prefix is the operator's ``root_path``, or what the proxy says in ``X-Forwarded-Prefix``. It
changes addresses only, never what a request may do: a stranger who sends it misleads himself.
"""

from __future__ import annotations

import re
from contextvars import ContextVar

_PREFIX = ContextVar("prefix", default="")
_FORM = re.compile(r"(/[A-Za-z0-9._~-]+)+", re.ASCII)


def clean_prefix(text: str) -> str | None:
    """Return a prefix without a slash at its end, or None where it is no path of plain letters."""
    prefix = text.strip().rstrip("/")
    return prefix if not prefix or _FORM.fullmatch(prefix) else None


def set_prefix(prefix: str) -> None:
    """Let ``href`` begin with a prefix in what follows of this request."""
    _PREFIX.set(prefix)


def href(path: str) -> str:
    """Return a path of the service as the client has to ask for it."""
    return _PREFIX.get() + path


def inner_path(path: str, prefix: str) -> str:
    """Return a path as the routes know it, whether the proxy took the prefix off or not."""
    if prefix and (path == prefix or path.startswith(f"{prefix}/")):
        return path[len(prefix) :] or "/"
    return path
