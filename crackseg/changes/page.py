"""A comparison as ``changes.html``, beside its crops: opens offline and prints."""

from __future__ import annotations

from pathlib import Path

from crackseg import __version__
from crackseg.changes.content import Content
from crackseg.exports.page import templates

MOST_ROWS = 2000


def write_page(content: Content, folder: Path) -> Path:
    """Write ``changes.html``."""
    path = folder / "changes.html"
    html = (
        templates("crackseg.changes")
        .get_template("changes.html.j2")
        .render(content=content, words=content.words, release=__version__, limit=MOST_ROWS)
    )
    path.write_text(html, encoding="utf-8", errors="replace")
    return path
