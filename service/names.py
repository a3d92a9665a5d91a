"""What people call things stays plain text: shown and exported, never a path, never a command."""

from __future__ import annotations

import unicodedata

_NAME_BYTES = 200
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean_text(text: str) -> str:
    """Return text without control characters and marks that turn round what stands behind them."""
    printable = "".join(c for c in unicodedata.normalize("NFC", text) if not _is_control(c)).strip()
    return printable or "unnamed"


def without_turns(text: str) -> str:
    """Return text without the marks that turn round what stands behind them, lines as they are."""
    return "".join(c for c in text if c not in _TURNS)


def clean_name(name: str) -> str:
    """Return a file's name from outside as plain text: the last part of a path.

    The name is shown and exported, it never becomes a path of the service.
    """
    text = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    printable = "".join(c for c in text if not _is_control(c)).strip()
    while len(printable.encode()) > _NAME_BYTES:
        printable = printable[:-1]
    return printable if printable.strip(". ") else "image"


def _is_control(character: str) -> bool:
    return unicodedata.category(character)[0] == "C"
