"""Files, folders, patterns and lists become photographs to analyze; what is passed over is named.

In a folder the suffix decides first and the content where that says nothing. A photograph of a
kind that cannot be read is handed on all the same: it fails by name. Videos, archives, second
copies, and documents and drawings, which may hold photographs, are passed over with a reason. Text,
tables of text and what systems leave behind are no photographs.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crackseg.csv_files import read_csv, read_text
from crackseg.errors import ConfigError, DataError
from crackseg.folders import MARK, read_mark
from crackseg.imagery.files import RAW_SUFFIXES, picture_kind
from crackseg.imagery.remote import is_address, remote_path
from crackseg.names import require
from crackseg.stores import (
    StorePath,
    as_folder,
    file_path,
    is_store,
    refuse_half_address,
    side_by_side,
)

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".tif", ".tiff"}
_HEIF = {".heic", ".heif", ".hif", ".avif"}
_FOREIGN = {  # pictures all the same
    ".bmp", ".gif", ".webp", ".jp2", ".j2k", ".jpx", ".jpf", ".jxl", ".psd", ".psb", ".xcf", ".tga",
    ".exr", ".ecw", ".sid",
}  # fmt: skip
_VIDEOS = {
    ".mp4", ".mov", ".avi", ".mkv", ".m4v", ".mts", ".m2ts", ".wmv", ".3gp", ".insv", ".mpg",
    ".mpeg", ".webm",
}  # fmt: skip
_ARCHIVES = {".zip", ".7z", ".rar", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".kmz"}
_DOCUMENTS = {  # what has room for photographs
    ".pdf", ".xps", ".svg", ".svgz", ".ai", ".eps", ".ps", ".cdr", ".indd", ".dwg", ".vsd", ".vsdx",
    ".doc", ".docx", ".docm", ".odt", ".rtf", ".pages", ".ppt", ".pptx", ".pptm", ".odp",
    ".odg", ".xls", ".xlsx", ".xlsm", ".ods", ".numbers", ".eml", ".msg", ".mht", ".epub",
}  # fmt: skip
_COPIES = {".thm", ".bak", ".tmp", ".part", ".lrv"}  # of a photograph or a video beside them
_PICTURES = SUFFIXES | RAW_SUFFIXES | _HEIF | _FOREIGN
_BY_SUFFIX = _PICTURES | _VIDEOS | _ARCHIVES | _DOCUMENTS
_LISTS = {".txt", ".csv", ".parquet"}  # of photographs, where one is named directly
_COLUMNS = ("image", "path")  # that hold the paths in a table
_JUNK = {"thumbs.db", "ehthumbs.db", "desktop.ini"}
_JUNK_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}


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
    sorted_out = _sort_out([match for match in matches if not match.is_dir()], keep=True)
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
    inputs = _sort_out(sorted(_files_below(folder, out)))
    if not inputs.paths and not may_be_empty:
        beside = "".join(f" (`{i.path.name}` is {i.reason})" for i in inputs.passed[:1])
        raise ConfigError(
            f"folder `{folder}` holds no image{beside}; expected {', '.join(sorted(SUFFIXES))} "
            "files."
        )
    return inputs


def _search_store(folder: StorePath, out: Path | None) -> Inputs:
    """Return the photographs below a prefix; what is no photograph by its suffix is no input."""
    own = None if out is None or folder.is_relative_to(out) else out  # as in ``_files_below``
    names = [
        Path(name) for name in folder.below() if own is None or own not in (folder / name).parents
    ]
    marked = [name.parent for name in names if name.name == MARK]
    marks = side_by_side(lambda place: read_mark(folder / place), marked, folder)
    made = {place: mark.files for place, mark in zip(marked, marks, strict=True) if mark}
    photographs = [
        remote_path(f"{folder}/{name}")
        for name in names
        if name.suffix.lower() in _BY_SUFFIX
        and name.name not in made.get(name.parent, ())
        and not any(part[0] == "." or part.lower() in _JUNK_FOLDERS for part in name.parts[:-1])
    ]
    inputs = _sort_out(photographs)
    if not inputs.paths:
        raise ConfigError(
            f"`{folder}/` holds no image; expected {', '.join(sorted(SUFFIXES))} files."
        )
    return inputs


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
            if f[0] == "." and not f.startswith(MARK) and _holds_pictures(here / f)
        )
        folders[:] = sorted(f for f in folders if f[0] != "." and f.lower() not in _JUNK_FOLDERS)
        mark = read_mark(here)
        made = mark.files if mark else ()
        yield from (here / name for name in files if name not in made)
    yield from refused


def _holds_pictures(folder: Path) -> bool:
    return any(
        Path(name).suffix.lower() in _PICTURES and not name.startswith("._")
        for _, _, files in os.walk(folder)
        for name in files
    )


def _sort_out(files: Iterable[Path], *, keep: bool = False) -> Inputs:
    """Tell photographs from other files; ``keep``: what is of no known kind is a photograph."""
    paths: list[Path] = []
    passed: list[Passed] = []
    listed = list(files)
    shots = {file.with_suffix("") for file in listed if file.suffix.lower() in SUFFIXES}
    for file in listed:
        reason = _why_not(file, shots)
        if reason:
            passed.append(Passed(file, reason))
        elif not _is_junk(file) and (keep or _is_photograph(file)):
            paths.append(file)
    return Inputs(tuple(paths), tuple(passed))


def _is_junk(file: Path) -> bool:
    return file.name.startswith(".") or file.name.lower() in _JUNK


def _why_not(file: Path, shots: set[Path]) -> str | None:
    """Return why a file is passed over by name, or None."""
    suffix = file.suffix.lower()
    if _is_junk(file):
        return _why_hidden(file)
    if suffix in RAW_SUFFIXES and file.with_suffix("") in shots:
        return "the raw data of a photograph that is analyzed beside it"
    if suffix in _VIDEOS:
        return "a video; take stills from it"
    if suffix in _ARCHIVES:
        return "an archive; unpack it first"
    if suffix in _DOCUMENTS:
        return "a document or drawing; save photographs that it holds as JPEG or TIFF"
    if (suffix in _COPIES or suffix.endswith("_original")) and picture_kind(file):
        return "a second copy by its suffix; rename it if it is a photograph"
    return None


def _why_hidden(file: Path) -> str | None:
    """Return why a picture with a hidden name is passed over; None: it is no picture."""
    name = file.name
    if not name.startswith(".") or name.startswith(MARK):
        return None
    if file.suffix.lower() not in _PICTURES:  # else an object of a store is not asked for
        if file.is_dir():
            return "a hidden folder with pictures; name it to have them analyzed"
        if not picture_kind(file):
            return None
    if name.startswith("._"):
        return (
            "what macOS keeps of a file beside it (a resource fork), by its name no picture; "
            "rename it if it is a photograph"
        )
    return "hidden by the dot before its name; rename it if it is a photograph"


def _is_photograph(file: Path) -> bool:
    suffix = file.suffix.lower()
    if suffix in _PICTURES:
        return True
    if not file.exists():
        return file.is_symlink() or file.is_dir() or not os.path.lexists(file)
    return file.is_dir() or picture_kind(file) is not None
