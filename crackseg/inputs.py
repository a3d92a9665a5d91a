"""Files, folders, patterns and lists become photographs to analyze; what is passed over is named.

In a folder the suffix decides first and the content where that says nothing. A photograph of a
kind that cannot be read is handed on all the same: it fails by name. All else is passed over with a
reason, but for what is known to be no picture (``file_kinds.NO_PICTURES``, text without a suffix)
and what systems leave behind.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crackseg.csv_files import read_csv, read_text
from crackseg.errors import ConfigError, DataError
from crackseg.file_kinds import (
    COPIES,
    JUNK,
    JUNK_FOLDERS,
    NO_PICTURES,
    PICTURES,
    PLACEHOLDER,
    REASONS,
    SUFFIXES,
    is_of_system,
)
from crackseg.folders import MARK, read_mark
from crackseg.imagery.files import RAW_SUFFIXES, picture_kind
from crackseg.imagery.remote import RemotePath, is_address, remote_path
from crackseg.names import require
from crackseg.stores import (
    StorePath,
    as_folder,
    file_path,
    is_store,
    refuse_half_address,
    side_by_side,
)

_LISTS = {".txt", ".csv", ".parquet"}  # of photographs, where one is named directly
_COLUMNS = ("image", "path")  # that hold the paths in a table
_TEXT = set(range(32, 256)) | set(b"\t\n\r\f\x1b")  # bytes of text, in whatever encoding
_UNKNOWN = (
    "of no kind that is known here; save it as JPEG or TIFF if it is a photograph, "
    "or rename it if its suffix is wrong"
)
_EMPTY = "an empty file (0 bytes)"
_HIDDEN_FOLDER = "a hidden folder with pictures; name it to have them analyzed"
_JUNK_FOLDER = (
    "a folder of the system with pictures (thumbnails, deleted files); name it to have them "
    "analyzed"
)


@dataclass(frozen=True, slots=True)
class Passed:
    """A file that is not analyzed and is no failure, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """What there is to do, in stable order, and what is left aside."""

    paths: tuple[Path, ...]
    passed: tuple[Passed, ...] = ()


def find_inputs(inputs: Iterable[str | Path], out: Path | None = None) -> Inputs:
    """Return the image files that files, folders and patterns name, each once.

    Folders are searched with everything below them, linked folders too, and prefixes of buckets
    that end with ``/``; ``out`` and the results of earlier runs are left out, and what is hidden
    is passed over by name where it is a picture or holds some. A file named directly is kept
    whatever it is called, but for a list: text with a path a line, or a table (CSV, Parquet) with a
    column ``image`` or ``path``; relative paths are relative to the list.

    Raises:
        ConfigError: an input names nothing, or a folder holds no image.
        DataError: a list cannot be read, or names none.
        MissingExtra: a list is Parquet and pyarrow is not installed.
    """
    photographs: dict[Path, Path] = {}
    passed: dict[Path, Passed] = {}
    for each in inputs:
        here = _expand(str(each), out)
        for path in here.paths:
            photographs.setdefault(_real(path), path)
        passed |= {_real(item.path): item for item in here.passed}
    aside = [item for real, item in sorted(passed.items()) if real not in photographs]
    return Inputs(tuple(photographs.values()), tuple(aside))


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        return path.absolute()


def _expand(name: str, out: Path | None) -> Inputs:
    if not name.strip():
        raise ConfigError(
            "an input is an empty text; expected a photograph, a folder or a pattern."
        )
    if is_address(name):
        folder = as_folder(name) if name.endswith("/") else None
        if isinstance(folder, StorePath):
            return _search_store(folder, out)
        return Inputs((remote_path(name),))
    path = _on_disk(name)
    if path != Path(name):  # an address of ``file``
        name = str(path)
    if os.path.isdir(path):  # noqa: PTH112  # a name that no disk takes is no error here
        return _search(path, out)
    if path.suffix.lower() in _LISTS and path.is_file() and not picture_kind(path):
        lines = read_list(path)
        here = path.parent
        return Inputs(tuple(remote_path(x) if is_address(x) else _on_disk(x, here) for x in lines))
    if os.path.lexists(path) or not glob.has_magic(name):
        return Inputs((path,))  # one that does not exist is a failed image: the others go on
    matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207
    if not matches:
        raise ConfigError(f"pattern `{name}` matches no file.")
    files = [match for match in matches if not match.is_dir()]
    sorted_out = _sort_out(files, Path(), keep=True)
    folders = [] if "**" in name else [match for match in matches if match.is_dir()]
    below = [_search(folder, out, may_be_empty=True) for folder in folders]
    paths = (*sorted_out.paths, *(path for inputs in below for path in inputs.paths))
    if not paths:
        raise ConfigError(f"pattern `{name}` matches no image.")
    return Inputs(paths, (*sorted_out.passed, *(i for inputs in below for i in inputs.passed)))


def _on_disk(name: str, folder: Path = Path()) -> Path:
    """Return the path of an input that is no address of a file elsewhere.

    Raises:
        ConfigError: it is an address of a kind that is not read, or one that lacks a part.
    """
    if name.lower().startswith("file:/"):
        return file_path(name)
    path = folder / name
    if not os.path.lexists(path):
        refuse_half_address(name)
        if is_store(name):
            raise ConfigError(
                f"`{name}` cannot be read: photographs come from a disk or from an address of "
                "https, http, s3 or gs; copy them to a disk."
            )
    return path


def read_list(path: Path) -> list[str]:
    """Return the paths that a list of photographs holds, as they are written there.

    Raises:
        DataError: it cannot be read, has no column of paths, a row lacks one, or it is empty.
        MissingExtra: it is Parquet and pyarrow is not installed.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        listed = _parquet_column(path)
    elif suffix == ".txt":
        listed = [line for line in read_text(path).splitlines() if line.strip()]
    else:
        listed = _csv_column(path)
    for number, value in enumerate(listed, 1):
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise DataError(f"list `{path}`, row {number}, must name a photograph, got {value!r}.")
    if not listed:
        raise DataError(f"list `{path}` names no photograph.")
    return [value.strip() for value in listed]


def _csv_column(path: Path) -> list[Any]:
    table = read_csv(path, ())
    column = _column(table.columns, path)
    return [row.cells[column] for row in table.rows]


def _parquet_column(path: Path) -> list[Any]:
    require("pyarrow", extra="cluster")
    import pyarrow.parquet as parquet

    try:
        column = _column(parquet.read_schema(path).names, path)
        values: list[Any] = parquet.read_table(path, columns=[column]).column(0).to_pylist()
    except (OSError, ValueError) as error:  # Arrow's own errors are such
        if isinstance(error, DataError):
            raise
        raise DataError(f"list `{path}` cannot be read as Parquet: {error}.") from error
    return values


def _column(names: Iterable[str], path: Path) -> str:
    for name in names:
        if name.strip().lower() in _COLUMNS:
            return name
    got = ", ".join(names) or "none"
    raise DataError(f"list `{path}` must have a column `image` or `path`, got {got}.")


def _search(folder: Path, out: Path | None, *, may_be_empty: bool = False) -> Inputs:
    inputs = _sort_out(sorted(_files_below(folder, out)), folder)
    return inputs if may_be_empty else _not_empty(inputs, f"folder `{folder}`")


def _not_empty(inputs: Inputs, where: str) -> Inputs:
    if not inputs.paths:
        beside = "".join(f" (`{i.path.name}` is {i.reason})" for i in inputs.passed[:1])
        expected = ", ".join(sorted(SUFFIXES))
        raise ConfigError(f"{where} holds no image{beside}; expected {expected} files.")
    return inputs


def _search_store(folder: StorePath, out: Path | None) -> Inputs:
    """Return the photographs below a prefix, and what is passed over, as ``_search`` does."""
    own = None if out is None or folder.is_relative_to(out) else out  # as in ``_files_below``
    names = [
        Path(name) for name in folder.below() if own is None or own not in (folder / name).parents
    ]
    marked = [name.parent for name in names if name.name == MARK]
    marks = side_by_side(lambda place: read_mark(folder / place), marked, folder)
    made = {place: mark.files for place, mark in zip(marked, marks, strict=True) if mark}
    files: list[Path] = []
    aside: dict[Path, str] = {}
    for name in names:
        if name.name in made.get(name.parent, ()):
            continue
        at = next((i for i, part in enumerate(name.parts[:-1]) if _why_not_in(part)), None)
        if at is None:
            files.append(remote_path(f"{folder}/{name}"))
        elif _is_picture_of_its_own(name.name) and not name.parts[at].startswith(MARK):
            place = remote_path("/".join((str(folder), *name.parts[: at + 1])))
            aside[place] = _why_not_in(name.parts[at]) or ""
    inputs = _sort_out(files, folder)
    passed = (*inputs.passed, *(Passed(place, reason) for place, reason in aside.items()))
    in_order = tuple(sorted(passed, key=lambda item: item.path))
    return _not_empty(Inputs(inputs.paths, in_order), f"`{folder}/`")


def _files_below(folder: Path, out: Path | None) -> Iterator[Path]:
    """Yield what is no folder below ``folder``, each linked folder once; not this program's own."""
    own = None if out is None else _real(out)
    if own is not None and (own == _real(folder) or own in _real(folder).parents):
        own = None  # results go beside the photographs: marks alone tell them apart
    visited: set[Path] = set()
    refused: list[Path] = []
    for at, folders, files in os.walk(
        folder, followlinks=True, onerror=lambda error: refused.append(Path(error.filename))
    ):
        here = Path(at)
        real = _real(here)
        if real in visited or real == own:
            folders.clear()
            continue
        visited.add(real)
        yield from (
            here / f
            for f in sorted(folders)
            if _why_not_in(f) and not f.startswith(MARK) and _holds_pictures(here / f)
        )
        folders[:] = sorted(f for f in folders if not _why_not_in(f))
        mark = read_mark(here)
        made = mark.files if mark else ()
        yield from (here / name for name in files if name not in made)
    yield from refused


def _why_not_in(folder: str) -> str | None:
    """Return why pictures in a folder of a name are passed over with it, or None."""
    if folder.lower() in JUNK_FOLDERS:
        return _JUNK_FOLDER
    return _HIDDEN_FOLDER if folder.startswith(".") else None


def _holds_pictures(folder: Path) -> bool:
    return any(_is_picture_of_its_own(name) for _, _, files in os.walk(folder) for name in files)


def _is_picture_of_its_own(name: str) -> bool:
    """Return whether a file is called as a picture, and not as what systems leave beside one."""
    return Path(name).suffix.lower() in PICTURES and not is_of_system(name)


def _sort_out(files: Sequence[Path], place: Path, *, keep: bool = False) -> Inputs:
    """Tell photographs from other files; ``keep``: what is of no known kind is a photograph."""
    shots = {file.with_suffix("") for file in files if file.suffix.lower() in SUFFIXES}
    told = [*side_by_side(lambda file: _judge(file, shots, keep=keep), files, place)]
    passed = (Passed(file, why) for file, why in zip(files, told, strict=True) if why)
    photographs = (file for file, why in zip(files, told, strict=True) if why is None)
    return Inputs(tuple(photographs), tuple(passed))


def _judge(file: Path, shots: set[Path], *, keep: bool) -> str | None:
    """Return None for a photograph, why a file is passed over, or "" where nobody asks for it."""
    if file.is_dir() and (why := _why_not_in(file.name)):
        return why
    if file.name.startswith(".") or file.name.lower() in JUNK:
        return _why_hidden(file) or ""
    if reason := _why_not(file, shots):
        return reason
    suffix = file.suffix.lower()
    if keep or suffix in PICTURES or _is_away(file):
        return None
    if isinstance(file, RemotePath) and suffix in NO_PICTURES:
        return ""  # not worth a request
    if not isinstance(file, RemotePath) and not (file.is_file() or file.is_dir()):
        return ""  # a pipe, a socket
    if picture_kind(file):
        return None
    if suffix in NO_PICTURES:
        return ""
    try:
        return _why_unknown(file)
    except OSError:  # may not be read: it fails by name
        return None


def _is_away(file: Path) -> bool:
    """Return whether a name is no file that could be looked into: a failure by name."""
    if not file.exists():
        return file.is_symlink() or not os.path.lexists(file)
    return file.is_dir()


def _why_not(file: Path, shots: set[Path]) -> str | None:
    """Return why a file is passed over by name, or None."""
    suffix = file.suffix.lower()
    if suffix in RAW_SUFFIXES and file.with_suffix("") in shots:
        return "the raw data of a photograph that is analyzed beside it"
    if suffix in REASONS:
        return REASONS[suffix]
    is_copy = suffix in COPIES or suffix.endswith(("_original", "~"))
    if is_copy and picture_kind(file):
        return "a second copy by its suffix; rename it if it is a photograph"
    return None


def _why_hidden(file: Path) -> str | None:
    """Return why a picture with a hidden name is passed over; None: it is no picture."""
    name = file.name
    if not name.startswith(".") or name.startswith(MARK):
        return None
    suffix = file.suffix.lower()
    if REASONS.get(suffix) == PLACEHOLDER:
        return PLACEHOLDER
    # An object of a store is not asked for what its name does not tell.
    if suffix not in PICTURES and (isinstance(file, RemotePath) or not picture_kind(file)):
        return None
    if is_of_system(name):
        return (
            "what macOS keeps of a file beside it (a resource fork), by its name no picture; "
            "rename it if it is a photograph"
        )
    return "hidden by the dot before its name; rename it if it is a photograph"


def _why_unknown(file: Path) -> str:
    """Return why a file that is no picture by its content is passed over; "": it is plain text.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        head = opened.read(512)
    if not head:
        return _EMPTY
    return "" if not file.suffix and _TEXT.issuperset(head) else _UNKNOWN
