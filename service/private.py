"""The data folder belongs to its user alone: photographs have positions, rows have digests of keys.

What is there already with wider rights is made narrow. A folder that holds other people's things
too keeps its own rights; what the service puts into it is private all the same.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from crackseg.errors import ConfigError

FOLDERS = ("uploads", "results", "parts", "work", "slots", "edits")
DATABASES = ("service.sqlite",)
RESERVE = "reserve"
_BESIDE = ("", "-wal", "-shm", "-journal")  # what SQLite writes beside a database
_OTHERS = 0o077


def make_private(data: Path) -> None:
    """Make the data folder, and let nobody but its user read what the service keeps there.

    Raises:
        ConfigError: somebody else may read it and that cannot be changed.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    ours = [data / name for name in (*FOLDERS, RESERVE)]
    ours += [data / f"{name}{end}" for name in DATABASES for end in _BESIDE]
    wide = _is_wide(data)
    for path in ours:
        if not path.exists():
            continue
        inner = path.rglob("*") if wide or _is_wide(path) else ()
        for one in (path, *inner):
            _narrow(one)
    if wide and {path.name for path in data.iterdir()} <= {path.name for path in ours}:
        _narrow(data)


def private_folder(path: Path) -> Path:
    """Return a folder that only its user may enter; it is made if need be."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _narrow(path)
    return path


def private_file(path: Path) -> Path:
    """Return a file that only its user may read; an empty one is made if need be."""
    with contextlib.suppress(FileExistsError):  # to open one that SQLite uses drops its locks
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    _narrow(path)
    return path


def _is_wide(path: Path) -> bool:
    return bool(path.stat().st_mode & _OTHERS)


def _narrow(path: Path) -> None:
    """Take the rights of others away.

    Raises:
        ConfigError: they stay.
    """
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode) or not mode & _OTHERS:
            return
        path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
        mode = path.stat().st_mode
    except FileNotFoundError:  # a part of an upload that has ended meanwhile
        return
    except OSError:
        pass
    if mode & _OTHERS:
        raise ConfigError(
            f"`data` must be private to its user, but others may read `{path}` (mode "
            f"{stat.S_IMODE(mode):o}) and that cannot be changed; expected 700, so make it the "
            "user's own or choose another folder."
        )
