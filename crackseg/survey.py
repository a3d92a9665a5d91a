"""``survey.toml`` beside the photographs becomes a record: what no photograph tells of a survey.

Everything in it may be left out: what is not known is None or an empty text, and a report says so.
The file is looked for in the folders that are analyzed and in those of the photographs; what it
holds travels in ``survey.json`` of the result folder.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from crackseg.config import AnalyzeOptions, read_options, read_record, to_plain
from crackseg.errors import ConfigError
from crackseg.stores import as_folder

NAME = "survey.toml"
TEMPLATE = Path(__file__).with_name("survey_template.toml")
_FARTHEST_M = 100_000_000  # false eastings of zones reach tens of millions
SIDES = ("right", "left")
Point3 = tuple[float, float, float]


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ConfigError(message)


def _require_sane(record: Any, name: str, low: float, high: float, table: str = "") -> None:
    value = getattr(record, name)
    _require(
        value is None or low <= value <= high,
        f"`{table}{name}` must be a finite number between {low} and {high}, got {value}.",
    )


def _is_crs(name: str) -> bool:
    """Return whether PROJ knows a reference system; by its form alone where there is no pyproj."""
    number = re.fullmatch(r"[A-Za-z]+:\d+(\+\d+)?", name) is not None
    if importlib.util.find_spec("pyproj") is None:
        return number or re.fullmatch(r"\+proj=.+|[A-Z]+\[.+\]|urn:.+", name, re.DOTALL) is not None
    import pyproj

    if not number and re.fullmatch(r"[A-Za-z]+:\S*", name) and not name.startswith("urn:"):
        return False  # PROJ would take EPSG:25832x for EPSG:25832
    try:
        pyproj.CRS.from_user_input(name)
    except pyproj.exceptions.CRSError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """The plane of the structure that was photographed, and how places on it are named.

    A place is named by its station, metres along the axis, and its elevation. ``origin`` is one
    point of the face in the world; it has the station ``origin_station_m`` and the elevation
    ``origin_elevation_m``.
    """

    name: str = ""
    batter: float | None = None  # horizontal over vertical, 0 is vertical; leans away from viewers
    azimuth_deg: float | None = None  # compass direction the face looks to
    origin: Point3 | None = None  # east, north, height in m, in ``crs``
    crs: str = ""  # of ``origin``, "EPSG:25832"
    origin_gps: Point3 | None = None  # the same as latitude, longitude in degrees, height in m
    origin_station_m: float = 0.0
    origin_elevation_m: float | None = None  # None: the height of the origin
    stations_grow_to: str = "right"  # as seen by one who stands before the face and looks at it

    def __post_init__(self) -> None:
        _require(
            self.batter is None or abs(self.batter) <= 10,
            f"`face.batter` must lie between -10 and 10, got {self.batter}; it is horizontal over "
            "vertical, 0.8 for a face of 0.8 : 1.",
        )
        _require(
            self.azimuth_deg is None or 0 <= self.azimuth_deg <= 360,
            f"`face.azimuth_deg` must lie between 0 and 360, got {self.azimuth_deg}; it is the "
            "compass direction the face looks to.",
        )
        _require(
            self.stations_grow_to in SIDES,
            f"`face.stations_grow_to` must be right or left, got {self.stations_grow_to!r}.",
        )
        _require(
            self.origin is None or self.origin_gps is None,
            "`face.origin` and `face.origin_gps` are one point: leave one of them out.",
        )
        _require(
            self.origin is None or bool(self.crs),
            '`face.origin` needs `face.crs`, such as "EPSG:25832"; latitude and longitude belong '
            "into `face.origin_gps`.",
        )
        _require(
            not self.crs or _is_crs(self.crs),
            f"`face.crs` must be a reference system, got {self.crs!r}; its number in the list of "
            'EPSG is the surest name: "EPSG:25832".',
        )
        _require_sane(self, "origin_station_m", -_FARTHEST_M, _FARTHEST_M, "face.")
        _require_sane(self, "origin_elevation_m", -_FARTHEST_M, _FARTHEST_M, "face.")
        for point in filter(None, (self.origin, self.origin_gps)):
            _require(
                max(map(abs, point)) <= _FARTHEST_M,
                f"`face.origin` must be a place on Earth, got {point}.",
            )
        lat, lon = (0.0, 0.0) if self.origin_gps is None else self.origin_gps[:2]
        _require(
            abs(lat) <= 90 and abs(lon) <= 180,
            f"`face.origin_gps` must be [latitude, longitude, height], got {self.origin_gps}.",
        )

    @property
    def elevation_m(self) -> float | None:
        """The elevation of the origin, or None where there is no origin and none is stated."""
        if self.origin_elevation_m is not None:
            return self.origin_elevation_m
        point = self.origin or self.origin_gps
        return None if point is None else point[2]

    @property
    def station_azimuth_deg(self) -> float | None:
        """The compass direction in which stations grow, or None where the face's is not known."""
        if self.azimuth_deg is None:
            return None
        turn = -90.0 if self.stations_grow_to == "right" else 90.0
        return (self.azimuth_deg + turn) % 360.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drone:
    """What took the photographs."""

    name: str = ""
    camera: str = ""
    lens: str = ""
    stand_off_m: float | None = None  # planned, camera to face: no scale is taken from it

    def __post_init__(self) -> None:
        _require(
            self.stand_off_m is None or 0 < self.stand_off_m < math.inf,
            f"`drone.stand_off_m` must be larger than 0, got {self.stand_off_m}.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """The survey to compare with."""

    folder: Path | None = None  # of its results; from a file: relative to that file
    inspected_on: date | None = None
    reservoir_level_m: float | None = None
    temperature_c: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        _require_sane(self, "reservoir_level_m", -1000, 10_000, "earlier.")
        _require_sane(self, "temperature_c", -90, 70, "earlier.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthBins:
    """The limits that cracks are counted by, and where they come from."""

    limits_mm: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5, 1.0)
    document: str = ""  # whose limits they are; empty: bins for tables alone

    def __post_init__(self) -> None:
        rising = sorted(set(self.limits_mm)) == list(self.limits_mm)
        _require(
            bool(self.limits_mm) and rising and self.limits_mm[0] > 0,
            f"`widths.limits_mm` must be rising numbers larger than 0, got {self.limits_mm}.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the people who made a survey know of it; see ``survey_template.toml``."""

    dam: str = ""
    owner: str = ""
    part: str = ""  # of the structure: upstream face, block 7, spillway, gallery
    title: str = ""
    inspected_on: date | None = None
    reservoir_level_m: float | None = None  # in the heights of ``Face.elevation_m``
    temperature_c: float | None = None  # of the air
    weather: str = ""
    people: tuple[str, ...] = ()
    note: str = ""
    face: Face = field(default_factory=Face)
    drone: Drone = field(default_factory=Drone)
    earlier: Earlier = field(default_factory=Earlier)
    widths: WidthBins = field(default_factory=WidthBins)

    def __post_init__(self) -> None:
        _require_sane(self, "reservoir_level_m", -1000, 10_000)
        _require_sane(self, "temperature_c", -90, 70)


def read_survey(path: Path) -> Survey:
    """Return what a ``survey.toml`` says.

    Raises:
        ConfigError: it cannot be read, is not TOML, or holds a key or value that does not fit.
    """
    survey = read_record(Survey, path)
    folder = survey.earlier.folder
    if folder is None or folder.is_absolute():
        return survey
    return replace(survey, earlier=replace(survey.earlier, folder=path.parent / folder))


def survey_from(values: Mapping[str, Any], *, where: str = "survey") -> Survey:
    """Return the record of a table, also of one that ``survey_to_dict`` made.

    Raises:
        ConfigError: a key or value does not fit.
    """
    return read_options(Survey, values, where=where)


def survey_to_dict(survey: Survey) -> dict[str, Any]:
    """Return a survey as ``survey.json`` holds it: without what is not known."""
    plain: dict[str, Any] = to_plain(survey)
    return _without_unknown(plain)


def is_of_another_face(earlier: Mapping[str, Any] | None, now: Survey | None) -> bool:
    """Return whether a survey puts the face elsewhere than one did that something was made with.

    What only one of the two knows contradicts nothing.

    Args:
        earlier: as ``survey_to_dict`` writes it.
        now: what is known today.
    """
    there = (earlier or {}).get("face") or {}
    here = {} if now is None else survey_to_dict(now).get("face") or {}
    both = there.keys() & here.keys() - {"name"}
    if not both & {"batter", "azimuth_deg", "origin", "origin_gps"}:
        return False
    return any(json.dumps(there[key]) != json.dumps(here[key]) for key in both)


def _without_unknown(table: Mapping[str, Any]) -> dict[str, Any]:
    pruned = {k: _without_unknown(v) if isinstance(v, Mapping) else v for k, v in table.items()}
    return {key: value for key, value in pruned.items() if value not in (None, "", [], {})}


def find_survey(inputs: Iterable[str | Path], photographs: Iterable[Path]) -> Survey | None:
    """Return the survey that lies beside photographs, or None.

    Args:
        inputs: what was given to be analyzed; folders among them are looked into.
        photographs: those that were found, whose folders are looked into.

    Raises:
        ConfigError: a file does not fit, or two of them say different things.
    """
    places = dict.fromkeys([*inputs, *(path.parent for path in photographs)])
    folders = dict.fromkeys(folder for place in places if (folder := as_folder(place)))
    files = [folder / NAME for folder in folders]
    surveys = {file: read_survey(file) for file in files if file.is_file()}
    if not surveys:
        return None
    (first, survey), *others = surveys.items()
    for file, other in others:
        if other != survey:
            raise ConfigError(
                f"`{first}` and `{file}` tell of two surveys; analyze each into an `--out` of its "
                "own, or name one file by `--survey`."
            )
    return survey


def with_face(options: AnalyzeOptions, survey: Survey | None) -> AnalyzeOptions:
    """Return the options with the slope and direction of the survey's face.

    Raises:
        ConfigError: an option says otherwise.
    """
    face = Face() if survey is None else survey.face
    of_face = {"face_batter": face.batter, "face_azimuth_deg": face.azimuth_deg}
    angles: dict[str, Any] = {name: value for name, value in of_face.items() if value is not None}
    for name, value in angles.items():
        option = getattr(options.scale, name)
        if option not in (None, value):
            raise ConfigError(
                f"`scale.{name}` is {option:g}, but `{NAME}` says {value:g} of the face; correct "
                "one of them."
            )
    return replace(options, scale=replace(options.scale, **angles))


def write_template(folder: Path) -> Path:
    """Write a ``survey.toml`` in which everything is explained and commented out.

    Raises:
        ConfigError: there is one already.
        OSError: the folder cannot be written.
    """
    path = folder / NAME
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise ConfigError(f"`{path}` is there already; edit it or move it away.") from error
    return path
