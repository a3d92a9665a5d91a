"""Option records with their defaults and reasons, read from TOML; an unknown key is refused.

Every record is a frozen dataclass. ``read_options`` turns a (nested) mapping into one, so a TOML
table, a service request and a Python call share one check.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from crackseg.errors import ConfigError
from crackseg.locales import find_locale
from crackseg.names import nearest
from crackseg.scales import MM_PER_PX_LIMITS, SIGMA_REL_MAX

T = TypeVar("T")
MOST_THREADS = 1024
_MOST = 1e6  # m or mm of anything that a scale comes of; the service's schema says so too


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ConfigError(message)


def _within(options: object, name: str, low: float, high: float, hint: str) -> None:
    value = getattr(options, name)
    limits = f"must lie between {low:g} and {high:g}"
    _require(low <= value <= high, f"`{name}` {limits}, got {value}; {hint}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """How the picture is cut into tiles and run through the network."""

    runtime: str = "auto"  # onnx, or openvino where it is installed and faster
    precision: str = "auto"  # float, or int8 where the model and the processor suit it
    device: str = "cpu"
    tile_px: int | None = None  # None: the model card's
    overlap_px: int = 64  # half of it is more than the reach of most of the network's response
    # tiles at once; None: 1 on a CPU, where more are no faster, on a GPU as many as trying shows
    batch: int | None = None
    threads: int | None = None  # None: all cores
    workers: int = (
        1  # processes that analyze photographs side by side, each with its share of cores
    )
    readings: int = 1  # of a tile, the mean is taken: 1 as it is, 2 mirrored too, 4 upside down too
    # Probability that the first reading must reach somewhere in a tile for the others to be made;
    # 0: always. On val pictures this loses nothing and spares most tiles of sound concrete.
    reread_from: float = 0.1

    def __post_init__(self) -> None:
        _require(
            self.tile_px is None or self.tile_px >= 64,
            f"`tile_px` must be at least 64, got {self.tile_px}.",
        )
        _require(
            self.precision in ("auto", "float", "int8"),
            f"`precision` must be auto, float or int8, got {self.precision}.",
        )
        _require(self.overlap_px >= 0, f"`overlap_px` must be 0 or larger, got {self.overlap_px}.")
        _require(
            1 <= self.workers <= 256, f"`workers` must lie between 1 and 256, got {self.workers}."
        )
        _require(
            self.batch is None or self.batch >= 1, f"`batch` must be 1 or larger, got {self.batch}."
        )
        _require(
            self.readings in (1, 2, 4),
            f"`readings` must be 1, 2 or 4, got {self.readings}; each takes the same time again.",
        )
        _require(
            0 <= self.reread_from < 1,
            f"`reread_from` must be 0 or larger and less than 1, got {self.reread_from}.",
        )
        _require(
            self.threads is None or 1 <= self.threads <= MOST_THREADS,
            f"`threads` must lie between 1 and {MOST_THREADS}, got {self.threads}.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskOptions:
    """How probability becomes a mask."""

    threshold: float | None = None  # None: the model card's, chosen on validation data
    threshold_low: float | None = None  # None: the model card's
    min_area_px: int = 12  # smaller specks are noise: a crack of 1 px must be 12 px long
    # Bridge gaps up to this length between tips that point at each other; a photograph must show
    # the crack there.
    gap_px: float = 12.0
    ignore_border_px: int = 0

    def __post_init__(self) -> None:
        for name in ("threshold", "threshold_low"):
            value = getattr(self, name)
            _require(
                value is None or 0 < value < 1,
                f"`{name}` must lie between 0 and 1, got {value}; 0.5 is a usual value.",
            )
        # Beyond these a report would be empty, or join what has nothing to do with each other.
        _within(self, "min_area_px", 1, 1_000_000, "a speck of 12 px is a usual limit")
        _within(self, "gap_px", 0, 1000, "0 bridges nothing")
        _within(self, "ignore_border_px", 0, 1000, "name what is not looked at by `ignore`")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureOptions:
    """How a mask becomes lengths and widths."""

    min_length_px: float = 15.0  # shorter cracks are not told from texture
    smooth_px: float = 4.0  # standard deviation along the line when it is smoothed
    # Longest stretch the mask leaves out that is joined where the photograph shows the crack run
    # on; cracks wander too far for more. 0: join nothing.
    join_px: float = 200.0
    documents: tuple[str, ...] = ()  # width-class documents; empty: all in the file
    width_classes: Path | None = None  # file of width classes; None: the shipped one

    def __post_init__(self) -> None:
        _within(self, "min_length_px", 0, 100_000, "15 is usual")
        _within(self, "smooth_px", 0.1, 50, "more would cut the corners of a crack, and its length")
        _within(self, "join_px", 0, 1000, "0 joins nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleOptions:
    """Where millimetres come from; every source given is used, contradictions are an error."""

    mm_per_px: float | None = None
    mm_per_px_sigma_rel: float = 0.02  # a reading of a scale bar
    distance_m: float | None = None  # camera to face, along the optical axis
    distance_sigma_rel: float = 0.05
    marker_mm: float | None = None  # side of an ArUco / AprilTag marker in the picture
    marker_dictionary: str = "DICT_4X4_50"
    reference_points: tuple[tuple[float, float, float, float], ...] = ()  # row, col, y_mm, x_mm
    geotiff_unit_m: float | None = None  # map unit in metres when the raster has no CRS
    face_batter: float | None = None  # horizontal over vertical: 0 = a vertical face
    face_azimuth_deg: float | None = None  # compass direction the face looks to
    use_metadata: bool = True  # what the file says: georeference, laser distance, focal length

    def __post_init__(self) -> None:
        for name in ("mm_per_px", "distance_m", "marker_mm", "geotiff_unit_m"):
            value = getattr(self, name)
            _require(
                value is None or 0 < value <= _MOST,
                f"`{name}` must be a finite number larger than 0, got {value}; at most {_MOST:g}.",
            )
        low, high = MM_PER_PX_LIMITS
        _require(
            self.mm_per_px is None or low <= self.mm_per_px <= high,
            f"`mm_per_px` must lie between {low:g} and {high:g}, got {self.mm_per_px}; it is the "
            "size of one pixel on the structure, in mm.",
        )
        for name in ("mm_per_px_sigma_rel", "distance_sigma_rel"):
            value = getattr(self, name)
            _require(
                0 < value <= SIGMA_REL_MAX,
                f"`{name}` must lie between 0 and {SIGMA_REL_MAX:g}, got {value}; 0.02 is 2 %.",
            )
        for name, most in (("face_batter", 10), ("face_azimuth_deg", 360)):
            value = getattr(self, name)
            _require(
                value is None or abs(value) <= most,
                f"`{name}` must lie between -{most} and {most}, got {value}.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionOptions:
    """Which part of a picture is looked at; GeoJSON or mask pictures, or folders of them."""

    region: Path | None = None  # what is the structure; None: the whole picture
    ignore: Path | None = None  # what on it is not looked at: fittings, joints, vegetation
    joint_reach_px: float = 12.0  # a line drawn by hand lies as far from its joint
    joint_share: float = 0.6  # of a crack's length along a joint makes it one; less crosses it

    def __post_init__(self) -> None:
        _within(self, "joint_reach_px", 0.1, 1000, "cracks farther off are none of its own")
        _require(
            0 < self.joint_share <= 1,
            f"`joint_share` must lie between 0 and 1, got {self.joint_share}.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyzeOptions:
    """All options of one analysis."""

    model: str = "default"
    predict: PredictOptions = field(default_factory=PredictOptions)
    mask: MaskOptions = field(default_factory=MaskOptions)
    measure: MeasureOptions = field(default_factory=MeasureOptions)
    scale: ScaleOptions = field(default_factory=ScaleOptions)
    region: RegionOptions = field(default_factory=RegionOptions)
    picture_scale: Mapping[str, Any] = field(default_factory=dict)  # "NAME.jpg" -> keys of [scale]
    exports: tuple[str, ...] = ("json", "csv", "mask", "overlay", "geojson", "page")
    max_megapixels: float = 1000.0  # larger pictures are refused from the header
    locale: str = "en"  # of CSV tables: decimal sign, and semicolons where that is a comma

    def __post_init__(self) -> None:
        find_locale(self.locale)
        _require(
            0 < self.max_megapixels < math.inf,
            f"`max_megapixels` must be a finite number larger than 0, got {self.max_megapixels}.",
        )
        for name, values in self.picture_scale.items():
            _require(bool(name.strip(" ./")), f"`picture_scale` names no photograph: `{name}`.")
            read_options(ScaleOptions, values, where=f"picture_scale.{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Who analyzes many photographs; no matter of what is found, so no report holds it."""

    name: str = "processes"  # of this machine, `predict.workers`; or ray
    address: str | None = None  # of a cluster that runs; None: a Ray of this run's own, here
    actors: int | None = None  # photographs or bands at a time; None: as there is room for
    cpus_per_actor: int = 1  # threads of one photograph: more at a time beat more threads for each
    gpus_per_actor: float | None = None  # None: 1 where `predict.device` is a GPU, else 0
    attempts: int = 3  # starts of a photograph whose actor dies over it

    def __post_init__(self) -> None:
        for name in ("actors", "cpus_per_actor", "attempts"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"`{name}` must be 1 or larger, got {value}.")
        _require(
            self.gpus_per_actor is None or 0 <= self.gpus_per_actor < math.inf,
            f"`gpus_per_actor` must be a finite number, 0 or larger, got {self.gpus_per_actor}.",
        )
        own = self.name == "processes" and (self.address is not None or self.actors is not None)
        _require(not own, "`address` and `actors` are of a cluster; set `name` to ray, too.")


def read_options(kind: type[T], values: Mapping[str, Any], *, where: str = "options") -> T:
    """Return a ``kind`` record filled from a nested mapping.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type or range.

    Example:
        >>> read_options(MaskOptions, {"threshold": 0.4}).threshold
        0.4
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"`{where}` must be a table, got {type(values).__name__}.")
    hints = typing.get_type_hints(kind)
    names = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            raise ConfigError(f"unknown key `{where}.{key}`; known: {nearest(str(key), names)}.")
        arguments[key] = _convert(hints[key], value, f"{where}.{key}")
    lacking = [f.name for f in dataclasses.fields(kind)  # type: ignore[arg-type]
               if f.default is f.default_factory is dataclasses.MISSING
               and f.name not in arguments]  # fmt: skip
    if lacking:
        raise ConfigError(f"`{where}` lacks {', '.join(f'`{name}`' for name in lacking)}.")
    return _made(kind, arguments, where)


def _made(kind: type[T], arguments: Mapping[str, Any], where: str) -> T:
    """Return a record, which says itself what numbers it expects in place of nan or infinity.

    Raises:
        ConfigError: a value is out of range, or a number is none.
    """
    wild = [k for k, v in arguments.items() if isinstance(v, float) and not math.isfinite(v)]
    try:
        record = kind(**arguments)
    except ConfigError as error:
        text = str(error)
        name = next((name for name in wild if text.startswith(f"`{name}`")), None)
        raise ConfigError(text if name is None else f"`{where}.{text[1:]}") from error
    for name in wild:
        raise ConfigError(f"`{where}.{name}` must be a finite number, got {arguments[name]}.")
    return record


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Return ``value`` as the type ``hint`` says, or raise naming the key."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        choices = [h for h in typing.get_args(hint) if h is not type(None)]
        return None if value is None else _convert(choices[0], value, where)
    if dataclasses.is_dataclass(hint):
        return read_options(typing.cast(type[Any], hint), value, where=where)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise ConfigError(f"`{where}` must be a list, got {value!r}.")
        inner = typing.get_args(hint)
        items = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(items) != len(value):
            raise ConfigError(f"`{where}` must hold {len(items)} values, got {len(value)}.")
        values = tuple(_convert(h, v, where) for h, v in zip(items, value, strict=True))
        for number in values:
            if isinstance(number, float) and not math.isfinite(number):
                raise ConfigError(f"`{where}` must hold finite numbers, got {number}.")
        return values
    if origin in (dict, Mapping) or origin is typing.get_origin(Mapping[str, Any]):
        if not isinstance(value, Mapping):
            raise ConfigError(f"`{where}` must be a table, got {value!r}.")
        return dict(value)
    if hint is Path:
        if not isinstance(value, str | Path) or "\0" in str(value):
            raise ConfigError(f"`{where}` must be a path, got {value!r}.")
        return Path(value)
    if hint is date:
        return _date(value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 1e300 else math.inf
    scalar = hint in (int, float, str, bool)
    if scalar and (not isinstance(value, hint) or (hint is not bool and isinstance(value, bool))):
        raise ConfigError(f"`{where}` must be {hint.__name__}, got {value!r}.")
    return value


def _date(value: Any, where: str) -> date:
    with suppress(ValueError):
        value = date.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ConfigError(f"`{where}` must be a date as 2026-05-12, got {str(value)!r}.")
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    text = ""
    try:
        text = path.read_text(encoding="utf-8-sig")  # Notepad writes a mark first
        return tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"configuration file `{path}` cannot be read: {error.strerror}."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"configuration file `{path}` is not UTF-8 text ({error.reason}); save it as UTF-8."
        ) from error
    except RecursionError as error:
        raise ConfigError(f"configuration file `{path}` is nested too deep.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"configuration file `{path}` is not valid TOML: {error}.{_hint(error, text)}"
        ) from error


def read_analysis(path: Path) -> dict[str, Any]:
    """Return the tables of a config file of an analysis, each value checked.

    Raises:
        ConfigError: as ``read_toml`` and ``read_options`` do, naming the file.
    """
    values = read_toml(path)
    with blamed_on(path):  # options of the command line are laid over later: none is the file's
        read_options(AnalyzeOptions, {k: v for k, v in values.items() if k != "engine"})
    return values


def read_record(kind: type[T], path: Path) -> T:
    """Return the options that a TOML file holds; a ``ConfigError`` names the file."""
    with blamed_on(path):
        return read_options(kind, read_toml(path), where=path.name)


@contextmanager
def blamed_on(path: Path) -> Iterator[None]:
    """Let a ``ConfigError`` within name the file that holds what is wrong."""
    try:
        yield
    except ConfigError as error:
        if path.name in str(error):
            raise
        raise ConfigError(f"in `{path}`: {error}") from error


def _hint(error: tomllib.TOMLDecodeError, text: str) -> str:
    if "escape" in str(error) or "hex" in str(error).lower():
        return " Put a path with backslashes in 'single quotes'."
    if place := re.search(r"line (\d+)", str(error)):
        line = text.splitlines()[int(place[1]) - 1]
        if re.search(r"=\s*[-+]?\d+,\d+\s*(#|$)", line):
            return " A number has a decimal point, as 0.2."
    return ""


def merge(values: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with those of ``upper`` laid over, table by table; None gives nothing.

    Example:
        >>> merge({"mask": {"gap_px": 4}}, {"mask": {"threshold": 0.5}, "model": None})
        {'mask': {'gap_px': 4, 'threshold': 0.5}}
    """
    merged = dict(values)
    for key, value in upper.items():
        if isinstance(value, Mapping):
            below = merged.get(key, {})
            if not isinstance(below, Mapping):
                raise ConfigError(f"`{key}` must be a table, got {below!r}.")
            value = merge(below, value)
            if not value:
                continue
        if value is not None:
            merged[key] = value
    return merged


def to_plain(record: Any) -> Any:
    """Return a record as plain dicts, lists and scalars, for JSON."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {f.name: to_plain(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {str(k): to_plain(v) for k, v in record.items()}
    if isinstance(record, list | tuple):
        return [to_plain(v) for v in record]
    if isinstance(record, date):
        return record.isoformat()
    return str(record) if isinstance(record, Path) else record


def says_the_same(there: Mapping[str, Any], options: AnalyzeOptions) -> bool:
    """Return whether a report's options are those wanted.

    What is left open may be anything, and how many photographs were analyzed at a time changes
    none.

    Args:
        there: as a report holds them.
        options: of a new analysis.
    """
    plain = json.loads(json.dumps(to_plain(options)))
    free = ["workers", *(n for n in ("runtime", "precision") if plain["predict"][n] == "auto")]
    for name in free:
        plain["predict"][name] = there["predict"].get(name)
    return bool(there == plain)
