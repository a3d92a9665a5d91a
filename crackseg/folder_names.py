"""Which name the folder of a photograph's results gets: that of an earlier run, else a free one."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from crackseg.errors import OutputError
from crackseg.folders import origin_of, plain_path, read_mark

REPORT, FACE, CHANGES = "report", "face", "changes"  # beside the folders of photographs
_LONGEST_NAME = 255  # bytes, on every usual file system


class FolderNames:
    """Which names are taken in a folder for results: it is read once, however many are chosen.

    Args:
        out: holds the folders; may be missing.
        names: of files that go there.
    """

    def __init__(self, out: Path, names: Iterable[str] = ()) -> None:
        self._used = {_plain(name) for name in names}
        self._kept = {REPORT, FACE, CHANGES}
        self._present = {_plain(entry.name) for entry in out.iterdir()} if out.is_dir() else set()

    def take(self, name: str) -> None:
        """Let nobody else have a name in this run."""
        self._used.add(_plain(name))

    def is_used(self, name: str) -> bool:
        """Return whether another file of this run has the name."""
        return _plain(name) in self._used

    def is_kept(self, name: str) -> bool:
        """Return whether a command of the program puts its own folder there, now or later."""
        return _plain(name) in self._kept

    def is_present(self, name: str) -> bool:
        """Return whether something in the folder had the name before this run."""
        return _plain(name) in self._present


def choose_folder(
    out: Path,
    path: Path,
    content: str,
    *,
    stem: str | None = None,
    names: FolderNames | None = None,
) -> Path:
    """Return the folder for the results of a file: that of an earlier run, else a free one.

    The first name that is free is taken of the stem, parent and stem, stem and suffix, stem and a
    number. Names that differ by case alone are one name, as on most disks of Windows and macOS. A
    name that another command of the program gives its folder is not free.

    Args:
        out: holds the folders.
        path: what the results are of.
        content: sha256 of its bytes; a file that was moved is known by it.
        stem: of the folder's name, default that of ``path``.
        names: what is taken in ``out``; None: what is there.
    """
    names = names or FolderNames(out)
    free = None
    for name, is_last in _names(path, stem):
        if len(os.fsencode(name)) > _LONGEST_NAME or names.is_used(name):
            continue
        if names.is_present(name):
            if _is_of(out / name, path, content):
                return out / name
        elif not names.is_kept(name):
            free = free or out / name
            if is_last:
                break
    if free is None:
        raise OutputError(f"`{out}` has no free folder name for `{path}`; choose another folder.")
    return free


def _is_of(folder: Path, path: Path, content: str) -> bool:
    """Return whether a folder holds the results of a file, also of one that was moved since."""
    mark = read_mark(folder)
    if mark is None or not mark.origin:
        return False
    if mark.origin == origin_of(path):
        return True
    if mark.content != content:
        return False
    try:
        named = json.loads((folder / "report.json").read_text(encoding="utf-8"))["image"]["path"]
        return not Path(named).exists()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _names(path: Path, stem: str | None) -> Iterator[tuple[str, bool]]:
    """Yield folder names in order, and whether all the fixed ones have been yielded."""
    stem = _storable(plain_path(path.stem if stem is None else stem)).strip(". ") or "image"
    parent = _storable(plain_path(path.resolve().parent.name))
    suffix = path.suffix.lstrip(".").lower()
    first = [name for name in (stem, parent and f"{parent}_{stem}", f"{stem}_{suffix}") if name]
    for number, name in enumerate(first, 1):
        yield name, number == len(first)
    for number in range(2, 10_000):
        yield f"{stem}_{number}", True


def _storable(name: str) -> str:
    """Return a name on one line that the system's encoding of names, ASCII in some, can hold."""
    encoding = sys.getfilesystemencoding()
    return "".join(
        c if c.encode(encoding, "ignore") and unicodedata.category(c) != "Cc" else "_" for c in name
    )


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
