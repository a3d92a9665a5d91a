"""Which edits of earlier analyses a new one is given, and what became of them.

Beside a report lies what it was offered: without it, an edit that meant nothing in one analysis
could not be told from one that somebody undid there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crackseg.folders import write_json_file

OFFER = ".offered.json"  # beside a report, in no bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The edits that an analysis was given to do again."""

    edits: list[dict[str, Any]]
    left_out: list[str]  # ids of those that meant nothing there


def write_offer(folder: Path, offer: Offer) -> None:
    """Keep in a folder of results what it was offered."""
    write_json_file(folder / OFFER, {"edits": offer.edits, "left_out": offer.left_out})


def read_offer(folder: Path) -> tuple[list[dict[str, Any]], Offer | None] | None:
    """Return the edits of a result and what it was offered; None where its files are gone."""
    report, path = read_json(folder / "report.json"), folder / OFFER
    if report is None:
        return None
    edits = (report.get("corrections") or {"edits": []})["edits"]
    offer = read_json(path)
    return edits, None if offer is None else Offer(**offer)


def all_edits(
    analyses: Iterable[tuple[list[dict[str, Any]], Offer | None]],
) -> list[dict[str, Any]]:
    """Return the edits that a new analysis is given.

    Args:
        analyses: of an image, in their order: the edits that stand in each, and what it had been
            offered; None: of an earlier release, that was offered all there was.
    """
    listed: list[dict[str, Any]] = []
    for edits, offer in analyses:
        standing = {edit["id"] for edit in edits}
        offered = {edit["id"] for edit in (listed if offer is None else offer.edits)}
        left_out = set() if offer is None else set(offer.left_out)
        undone = offered - standing - left_out
        listed = [edit for edit in listed if edit["id"] not in undone]
        ids = {edit["id"] for edit in listed}
        listed += [edit for edit in edits if edit["id"] not in ids]
    return listed


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the values of a file, None where it is gone."""
    if not path.is_file():
        return None
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values
