"""What inspectors did with an earlier analysis, and a later one left behind."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from crackseg.stores import StorePath

FILE = "corrections.json"  # the edits, beside the result that they are applied to


def left_behind(
    folder: Path, image_sha256: str, codes: Collection[str], *, verdicts_are_older: bool
) -> list[dict[str, str]]:
    """Return what to mind of work on an earlier result of a photograph: code and message of each.

    Args:
        folder: of the result.
        image_sha256: of the photograph.
        codes: of the warnings of its report.
        verdicts_are_older: whether verdicts on it were given on an earlier list of its cracks.
    """
    notices = []
    about = None if "corrected" in codes else _photograph_of_edits(folder)
    if about is not None:
        text = (
            f"its edits in `{FILE}` are of an earlier analysis and not in this result; "
            f"`crackseg correct` puts them onto it."
            if about == image_sha256
            else f"the edits in `{FILE}` beside it are about an earlier photograph of this name: "
            "none of them is in this result."
        )
        notices.append({"code": "edits_left_behind", "message": text})
    if verdicts_are_older:
        text = (
            "it was analyzed again after `verdicts.csv` was written, and lists other cracks now: "
            "none of the verdicts on it counts. Hold them against this result and save the table "
            "again."
        )
        notices.append({"code": "verdicts_are_older", "message": text})
    return notices


def _photograph_of_edits(folder: Path) -> str | None:
    """Return the sha256 of the photograph that edits in a folder are about, None without any."""
    if isinstance(folder, StorePath):  # `correct` works on folders
        return None
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8-sig"))
        return str(values["image_sha256"]) if values["edits"] else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
