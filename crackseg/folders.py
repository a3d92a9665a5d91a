"""Which files of a folder this program made: only those are ever replaced or removed.

A folder that the program fills holds a mark, ``.crackseg``, with the names and digests of its
files. What the mark does not list, or what was changed since, belongs to somebody else: it stays,
and where it stands in the way the program refuses with a sentence.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from crackseg.errors import ConfigError, OutputError
from crackseg.stores import StorePath

MARK = ".crackseg"
_TEMPORARY = ".crackseg-"  # and eight random digits: no name that a user would give


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What the mark of a folder says."""

    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name -> sha256 it may have
    origin: str = ""  # sha256 of the absolute path of what the folder was made from
    content: str = ""  # sha256 of its bytes
    complete: bool = True  # False: the program was stopped while it replaced the files


def write_json_file(path: Path, values: Any, *, indent: int | None = None) -> None:
    """Write a JSON file, UTF-8 and without nan; what of a name is no text becomes a mark."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, indent=indent)
    path.write_text(text + "\n", encoding="utf-8", errors="replace")


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def origin_of(path: Path) -> str:
    """Return what a mark holds of a path: a folder that is handed on shows no place of a disk."""
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()


def plain_path(path: str | Path) -> str:
    """Return a path as text that every file can hold: bytes that are no text become �."""
    return os.fsencode(path).decode("utf-8", "replace")


def read_mark(folder: Path) -> Mark | None:
    """Return the mark of a folder, or None where the program has made nothing."""
    try:
        values = json.loads((folder / MARK).read_text(encoding="utf-8"))
        files = {str(name): tuple(digests) for name, digests in values["files"].items()}
        return Mark(
            files=files,
            origin=str(values["origin"]),
            content=str(values["content"]),
            complete=values["complete"] is True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def refuse_foreign(folder: Path, names: Iterable[str] | None = None) -> None:
    """Raise where a file that would be written is there and was not made by this program.

    Args:
        folder: where to write.
        names: what would be written; None: whatever the mark of the folder lists.

    Raises:
        OutputError: names the first such file.
    """
    refuse_file(folder)
    mark = read_mark(folder)
    if mark is None:
        mark, names = Mark(), [MARK, *(names or ())]
    for name in _present(folder, mark.files if names is None else names):
        if not _is_made(folder / name, mark):
            what = "was changed" if name in mark.files else "was not written by crackseg"
            since = " since crackseg wrote it" if name in mark.files else ""
            raise OutputError(
                f"`{folder / name}` {what}{since} and would be replaced; move it away or choose "
                "another folder."
            )


def _present(folder: Path, names: Iterable[str]) -> list[str]:
    if isinstance(folder, StorePath):  # one question in place of many
        there = {path.name for path in folder.iterdir()}
        return [name for name in names if name in there]
    return [name for name in names if os.path.lexists(folder / name)]


def refuse_file(folder: Path) -> None:
    """Raise where a folder that is to be filled, or one that it lies in, is a file.

    Raises:
        OutputError: names it.
    """
    if isinstance(folder, StorePath):  # where an object may have the name of a folder
        return
    for part in (folder, *folder.parents):
        if os.path.lexists(part) and not part.is_dir():
            what = "a link that leads to no folder" if part.is_symlink() else "a file, not a folder"
            raise OutputError(f"`{part}` is {what}; move it away or choose another `--out`.")


def make_folder(out: Path) -> None:
    """Make a folder for results, and clear what a killed run left in it.

    Raises:
        OutputError: it, or one that it lies in, is a file.
        ConfigError: it cannot be made or written.
    """
    refuse_file(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with occupied(out):
            clear_leftovers(out)
    except OSError as error:
        raise ConfigError(
            f"`--out {out}` cannot be written: {error.strerror}; choose another folder."
        ) from error


def refuse_unwritable(out: Path) -> None:
    """Raise where a folder for results cannot be made, before the work; nothing is left behind.

    Raises:
        OutputError, ConfigError: as ``make_folder``.
    """
    missing = [part for part in (out, *out.parents) if not os.path.lexists(part)]
    try:
        make_folder(out)
    finally:
        for part in missing:
            with suppress(OSError):
                part.rmdir()


def require_new(folder: Path) -> None:
    """Raise where a folder that is to be filled holds anything already.

    Raises:
        OutputError: it does, or it is a file.
    """
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"`{folder}` is there and not empty; choose a new folder.")


def refuse_unless(file: Path, is_own: Callable[[str], bool], kind: str) -> None:
    """Raise where a file that is to be written is there and is not of the kind written there.

    Args:
        file: where to write.
        is_own: tells by the text of a file.
        kind: what is written, in words.

    Raises:
        OutputError: the file is of another kind.
    """
    if not os.path.lexists(file):
        return
    try:
        own = is_own(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        own = False
    if not own:
        raise OutputError(f"`{file}` is there and holds no {kind}; choose another name.")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON; write null where a figure is not known")


def read_figures(file: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8-sig"), parse_constant=_refuse_constant)
    except OSError as error:
        raise ConfigError(f"`{file}` cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigError(f"`{file}` is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"`{file}` must hold a JSON object, got {type(values).__name__}.")
    return values


def holds_keys(*choices: str) -> Callable[[str], bool]:
    """Return what tells, by the text of a file, whether it is a JSON object that we wrote.

    Args:
        choices: names parted by spaces; of one choice it must hold all.

    Example:
        >>> holds_keys("protocol sets")('{"type": "FeatureCollection"}')
        False
    """

    def is_own(text: str) -> bool:
        values = json.loads(text)
        return isinstance(values, dict) and any(set(c.split()) <= values.keys() for c in choices)

    return is_own


def refuse_beside(page: Path, is_own: Callable[[str], bool], kind: str, *others: str) -> None:
    """Raise where a page that is to be written, or what goes with it, is there and is not ours.

    What goes with a page is no text that tells whose it is: it is ours where the page is.

    Args:
        page: where to write.
        is_own: tells by the text of a page.
        kind: what is written, in words.
        others: names of files and folders that are written beside it.

    Raises:
        OutputError: the page is of another kind, or is not there and one of the others is.
    """
    refuse_unless(page, is_own, kind)
    foreign = [name for name in others if os.path.lexists(page.parent / name)]
    if foreign and not os.path.lexists(page):
        raise OutputError(
            f"`{page.parent / foreign[0]}` is there without `{page.name}`, was not written by "
            "crackseg and would be replaced; move it away or choose another folder."
        )


@contextmanager
def filling(
    folder: Path, *, work: Path | None = None, origin: str = "", content: str = ""
) -> Iterator[Path]:
    """Give an empty folder whose files go into ``folder`` when the block ends well.

    A new folder appears whole or not at all. In one that is there, files of an earlier run are
    replaced or removed, all others stay. In a store, which cannot move a folder, the mark says
    until the last of the files is there that they are not complete.

    Args:
        folder: made if missing.
        work: where the empty folder lies, on the same disk; default: beside ``folder``. Of a store:
            among the temporary files.
        origin: for the mark, from ``origin_of``.
        content: for the mark, sha256 of the source.

    Raises:
        OutputError: a file in the way was not made by this program, or was changed since.
        OSError: the folder cannot be written; nothing is left behind.
    """
    work = _on_disk(folder.parent if work is None else work)
    work.mkdir(parents=True, exist_ok=True)
    fresh = work / f"{_TEMPORARY}{secrets.token_hex(4)}"
    fresh.mkdir()
    try:
        with (fresh / MARK).open("w") as mark:
            lock(mark)
            yield fresh
        names = sorted(path.name for path in fresh.iterdir() if path.name != MARK)
        files = {name: (sha256_of(fresh / name),) for name in names}
        _place(fresh, folder, Mark(files=files, origin=origin, content=content))
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _on_disk(folder: Path) -> Path:
    return Path(tempfile.gettempdir()) if isinstance(folder, StorePath) else folder


@contextmanager
def occupied(folder: Path) -> Iterator[Path]:
    """Give an empty working folder in ``folder`` that is gone after the block.

    Raises:
        OSError, StoreError: the folder cannot be written.
    """
    if isinstance(folder, StorePath):  # no lock tells a dead one: all have one name
        only = folder / f"{_TEMPORARY}{'0' * 8}"
        (only / MARK).write_text("")
        yield only
        (only / MARK).unlink(missing_ok=True)
        return
    place = folder / f"{_TEMPORARY}{secrets.token_hex(4)}"
    place.mkdir()
    try:
        with (place / MARK).open("w") as mark:
            lock(mark)
            yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def place_to_go_on(folder: Path) -> Path:
    """Return where to keep what a killed run shall go on from.

    That is beside the folder of a result, and for one in a store among the temporary files.
    """
    unique = str(folder) if isinstance(folder, StorePath) else folder.name
    name = hashlib.sha256(os.fsencode(unique)).hexdigest()[:8]
    return _on_disk(folder.parent) / f"{_TEMPORARY}part-{name}"


def clear_leftovers(folder: Path) -> None:
    """Remove the working folders that a killed run left in ``folder``; those in use stay."""
    for path in _on_disk(folder).glob(f"{_TEMPORARY}*"):
        if path.is_symlink() or not (path / MARK).is_file():
            continue
        with suppress(OSError), (path / MARK).open("r+") as mark:
            if lock(mark):
                shutil.rmtree(path, ignore_errors=True)


def _place(fresh: Path, folder: Path, mark: Mark) -> None:
    """Move the files of ``fresh`` into ``folder``, which may be there."""
    if not isinstance(folder, StorePath) and not os.path.lexists(folder):
        _write_mark(fresh, mark)
        fresh.rename(folder)
        return
    refuse_foreign(folder, mark.files)
    earlier = read_mark(folder) or Mark()
    either = {
        name: (*earlier.files.get(name, ()), *mark.files.get(name, ()))
        for name in {**earlier.files, **mark.files}
    }
    part = Mark(files=either, origin=mark.origin, content=mark.content, complete=False)
    _write_mark(folder, part)
    _move([fresh / name for name in mark.files], folder)
    for name in set(earlier.files) - set(mark.files):
        if _is_made(folder / name, earlier):
            (folder / name).unlink()
    _write_mark(folder, mark)


def _move(files: list[Path], folder: Path) -> None:
    """Put files in the place of those of the same name; a record after all that it tells of."""
    if not isinstance(folder, StorePath):
        for file in files:
            file.replace(folder / file.name)
        return
    folder.put_files(file for file in files if file.suffix != ".json")
    folder.put_files(file for file in files if file.suffix == ".json")


def _write_mark(folder: Path, mark: Mark) -> None:
    values = {"origin": mark.origin, "content": mark.content, "complete": mark.complete}
    text = json.dumps({"made_by": "crackseg", **values, "files": mark.files}, indent=1)
    if isinstance(folder, StorePath):
        (folder / MARK).write_text(text + "\n")
        return
    part = folder / f"{MARK}.{secrets.token_hex(4)}"
    try:
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(folder / MARK)
    finally:
        part.unlink(missing_ok=True)


def _is_made(file: Path, mark: Mark) -> bool:
    digests = mark.files.get(file.name, ())
    return bool(digests) and file.is_file() and not file.is_symlink() and sha256_of(file) in digests


def lock(stream: IO[str]) -> bool:
    """Lock an open file until it is closed; return False where another process holds it."""
    try:
        import fcntl
    except ImportError:  # Windows, where an open file cannot be removed
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a disk without locks
        return True
    return True


def identity_of(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another that has come to its place; None: it is gone."""
    try:
        facts = folder.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def refuse_lost(out: Path, identity: tuple[int, int] | None) -> None:
    """Raise where the folder for the results is not the one that the run began with.

    Below the place of a drive that has gone, a new folder would be filled on another disk.

    Raises:
        OutputError: it is another folder, or none.
    """
    if identity_of(out) != identity:
        raise OutputError(
            f"`{out}` has gone or was replaced during the run; bring it back, then the same "
            "command goes on."
        )


def find_from(written: str, folder: Path) -> Path | str:
    """Return a path as it is reached from here.

    A relative path was written from the folder in which a command ran, which is most often one
    above the results. Those come first: the working folder may hold another date's photographs.

    Args:
        written: the path; empty: none.
        folder: of the file that it stands in.

    Returns:
        ``written`` itself where it is absolute, or leads nowhere from any folder above.
    """
    if not written or Path(written).is_absolute():
        return written
    places = (above / written for above in folder.resolve().parents)
    return next((place for place in places if place.exists()), written)
