"""Two folders of results, each with a map, become a comparison."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crackseg.changes.comparison import compare
from crackseg.changes.records import Comparison
from crackseg.changes.registration import register
from crackseg.errors import ConfigError
from crackseg.face.face_json import read_face
from crackseg.face.photographs import is_outdated
from crackseg.folder_names import FACE


def map_folder(folder: Path) -> Path:
    """Return the folder of a map: the one given, or ``face`` in a folder of results."""
    return folder if (folder / "face.json").is_file() else folder / FACE


def compare_folders(
    old: Path, new: Path, listen: Callable[[str, float], None] = lambda step, share: None
) -> Comparison:
    """Return what changed between two maps.

    Args:
        old: folder of the earlier map, or of results with one.
        new: the later one.
        listen: is told of the step and the share of it that is done.

    Raises:
        DataError: a map is missing, the two cannot be laid on each other, or a result beside a map
            is damaged.
        ConfigError: both are the same map.
    """
    folders = [map_folder(folder) for folder in (old, new)]
    if folders[0].resolve() == folders[1].resolve():
        raise ConfigError(f"`{old}` and `{new}` are the same map; give two dates of one face.")
    before, after = (read_face(folder) for folder in folders)
    registration = register(before, after, listen)
    changes = compare(before, after, registration, _lasting(folders[0], before))
    return Comparison(
        old=before,
        new=after,
        registration=registration,
        changes=changes,
        outdated=(
            is_outdated(before, folders[0].parent),
            is_outdated(after, folders[1].parent),
        ),
    )


def _lasting(folder: Path, values: dict[str, Any]) -> dict[int, int] | None:
    """Return the ids that an earlier comparison gave to the cracks of a map, or None."""
    path = folder.parent / "changes" / "changes.json"
    try:
        changes = json.loads(path.read_text(encoding="utf-8"))["changes"]
        lasting = {int(n): int(c["lasting_id"]) for c in changes for n in c["new_ids"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return lasting if {c["id"] for c in values["cracks"]} == set(lasting) else None
