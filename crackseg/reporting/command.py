"""A folder of results becomes the files of a report, in a folder of their own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from crackseg.errors import ConfigError, OutputError
from crackseg.folder_names import REPORT
from crackseg.folders import filling, origin_of, read_mark, refuse_foreign, refuse_unwritable
from crackseg.names import look_up
from crackseg.reporting.content import Content, compose
from crackseg.reporting.gather import gather
from crackseg.words import read_words

_REPORT = "report of "  # what an origin of ours begins with
DEFAULT = ("html", "pdf", "xlsx", "csv")
WITH_PICTURES = ("html", "pdf")
PACKAGES = {  # format -> the extra and its packages that write it
    "pdf": ("reports", ("reportlab",)),
    "xlsx": ("reports", ("xlsxwriter",)),
    "gpkg": ("gis", ("pyogrio", "shapely")),
    "dxf": ("gis", ("ezdxf",)),
}

Writer = Callable[[Content, Path, Sequence[str]], list[Path]]  # the names: which of its formats

_LAYERS, _LABELS = "crackseg.reporting.layers:write", "crackseg.reporting.labels:write"
FORMATS: dict[str, str] = {
    "html": "crackseg.reporting.page:write",
    "pdf": "crackseg.reporting.pdf:write",
    "xlsx": "crackseg.reporting.workbook:write",
    "csv": "crackseg.reporting.tables:write",
    **dict.fromkeys(("geojson", "gpkg", "shp", "dxf", "svg"), _LAYERS),
    **dict.fromkeys(("coco", "yolo", "cvat", "labelstudio"), _LABELS),
}


def can_write(name: str) -> bool:
    """Return whether the packages that write a format are installed, of those in ``PACKAGES``."""
    return not _lacking(name)


def left_out(stem: str, formats: Iterable[str]) -> list[str]:
    """Return a sentence for each extra on the files of one name that cannot be written for it."""
    lacking = [name for name in formats if not can_write(name)]
    sentences = []
    for extra in dict.fromkeys(PACKAGES[name][0] for name in lacking):
        of = [name for name in lacking if PACKAGES[name][0] == extra]
        files = " and ".join(f"`{stem}.{name}`" for name in of)
        packages = ", ".join(f"`{package}`" for name in of for package in _lacking(name))
        sentences.append(
            f"{files} left out for want of {packages}; pip install 'crackseg[{extra}]'."
        )
    return sentences


def _lacking(name: str) -> list[str]:
    """Return the packages of a format that are not installed."""
    packages = PACKAGES[name][1] if name in PACKAGES else ()
    return [package for package in packages if importlib.util.find_spec(package) is None]


def write_report(
    results: Path,
    out: Path | None = None,
    *,
    formats: Sequence[str] = DEFAULT,
    locale: str = "en",
    facts: Path | None = None,
    photographs: Path | None = None,
    with_rejected: bool = True,
) -> list[Path]:
    """Write the report of a folder of results and return its files.

    Args:
        results: ``--out`` of an analysis, or an unpacked bundle of the service.
        out: folder for the files; None: ``report`` in ``results``. What others put there stays.
        formats: names in ``FORMATS``.
        locale: language and form of numbers and dates.
        facts: a ``survey.toml``; None: the one in ``results``, else what the analysis knew.
        photographs: folder to look for photographs in that were moved since.
        with_rejected: False: what inspectors rejected is counted, but not listed.

    Raises:
        UnknownName: a format is unknown.
        MissingExtra: a format needs a package that is not installed.
        ConfigError: there are no results, or no format is named, or the locale or
            ``facts`` do not fit.
        OutputError: a file in the way was not made by this program, or was changed since.
    """
    if not formats:
        raise ConfigError(f"`formats` must name at least one of {', '.join(FORMATS)}; got none.")
    writers: dict[Writer, list[str]] = {}
    for name in dict.fromkeys(formats):
        extra = PACKAGES[name][0] if name in PACKAGES else "gis"
        writer = look_up(FORMATS, name, what="format", extra=extra)
        writers.setdefault(writer, []).append(name)
    words = read_words(locale)
    if results.is_file():
        raise ConfigError(
            f"`{results}` is a file; expected the `--out` folder of `crackseg analyze`, or a "
            "bundle of the service that is unpacked."
        )
    out = out or results / REPORT
    _refuse_others(out, results)
    pictures = any(name in WITH_PICTURES for name in formats)
    content = compose(gather(results, facts), words, photographs, pictures=pictures)
    if not with_rejected:
        content = _without_rejected(content)
    paths: list[Path] = []
    with filling(out, origin=_origin(results)) as fresh:
        for write, names in writers.items():
            paths += write(content, fresh, names)
    return [out / path.name for path in paths]


def _without_rejected(content: Content) -> Content:
    return replace(
        content,
        rejected=replace(content.rejected, rows=()),
        gathered=replace(content.gathered, rejected=()),
    )


def _origin(results: Path) -> str:
    return f"{_REPORT}{origin_of(results)}"


def _refuse_others(out: Path, results: Path) -> None:
    """Raise where a folder of the report's name holds something else of this program."""
    refuse_foreign(out)
    refuse_unwritable(out)
    mark = read_mark(out)
    if mark is None or mark.origin == _origin(results):
        return
    moved = out.resolve().parent == results.resolve() and mark.origin.startswith(_REPORT)
    if not moved:  # a report within its results stays theirs where both are renamed or copied
        raise OutputError(f"`{out}` holds other results of crackseg; choose another `--out`.")
