"""The plane of the face: its direction and slope, and how x, y become station and elevation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crackseg.errors import ConfigError
from crackseg.face.photographs import Photograph, east_north_up
from crackseg.names import require
from crackseg.records import Array
from crackseg.survey import Face

STEEP_PITCH_DEG = 75.0  # up or down; beyond it the compass direction says little of the view


@dataclass(frozen=True, slots=True, kw_only=True)
class FacePlane:
    """Where the face lies; what is unknown is None.

    ``batter`` is horizontal over vertical run, 0 a vertical face; ``azimuth_deg`` the compass
    direction that the face looks to. ``origin`` (lat, lon, height) is a point on the face whose
    station and elevation are ``station_m`` and ``elevation_m``. ``rightwards``: stations grow to
    the right as seen from outside.
    """

    name: str = ""
    azimuth_deg: float | None = None
    batter: float = 0.0
    origin: tuple[float, float, float] | None = None
    station_m: float = 0.0
    elevation_m: float = 0.0
    rightwards: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.batter) and abs(self.batter) < 6):
            raise ConfigError(f"`batter` must lie between -6 and 6, got {self.batter}.")
        if self.azimuth_deg is not None and not -360 <= self.azimuth_deg <= 360:
            raise ConfigError(f"`azimuth_deg` must be a compass angle, got {self.azimuth_deg}.")

    @property
    def rise(self) -> float:
        """Height per length up the slope."""
        return 1 / math.hypot(1, self.batter)

    def to_map(self, places_m: Array) -> Array:
        """Return (N, 2) station and elevation in m of (N, 2) places x, y on the face."""
        sign = 1.0 if self.rightwards else -1.0
        return np.column_stack(
            [
                self.station_m + sign * places_m[:, 0],
                self.elevation_m + self.rise * places_m[:, 1],
            ]
        )

    def from_map(self, marks_m: Array) -> Array:
        """Return (N, 2) places x, y on the face of (N, 2) stations and elevations."""
        sign = 1.0 if self.rightwards else -1.0
        return np.column_stack(
            [
                sign * (marks_m[:, 0] - self.station_m),
                (marks_m[:, 1] - self.elevation_m) / self.rise,
            ]
        )

    def frame(self, azimuth_deg: float) -> Array:
        """Return the rows x, y, z of the face in east, north, up."""
        azimuth, lean = math.radians(azimuth_deg), math.atan(self.batter)
        outward = np.array([math.sin(azimuth), math.cos(azimuth), 0.0])
        along = np.array([-math.cos(azimuth), math.sin(azimuth), 0.0])
        normal = math.cos(lean) * outward + np.array([0.0, 0.0, math.sin(lean)])
        return np.stack([along, np.cross(normal, along), normal])


def facing_deg(photographs: Sequence[Photograph]) -> float | None:
    """Return the compass direction of the face that most cameras look at, or None without poses.

    The median turn of the cameras, so that some that look elsewhere do not count. Those that look
    straight down count where there are no others: of the face they show nothing.
    """
    poses = [p.pose for p in photographs if p.pose]
    if not poses:
        return None
    level = [pose for pose in poses if abs(pose.pitch_deg) < STEEP_PITCH_DEG]
    yaws = [math.radians(pose.yaw_deg) for pose in level or poses]
    middle = min(yaws, key=lambda a: sum(abs(math.remainder(b - a, math.tau)) for b in yaws))
    near = [math.remainder(b - middle, math.tau) for b in yaws]
    close = [turn for turn in near if abs(turn) < math.radians(45)]
    return (math.degrees(middle + float(np.mean(close))) + 180) % 360


def placed_by_drone(
    photographs: Sequence[Photograph], plane: FacePlane, azimuth_deg: float
) -> tuple[Array, Array]:
    """Return (N, 3, 3) axes and (N, 3) positions on the face's axes; nan without a pose.

    Without an origin of the face, x = y = 0 lies before the first photograph with a pose and z = 0
    at its place.
    """
    frame = plane.frame(azimuth_deg)
    axes = np.full((len(photographs), 3, 3), np.nan)
    positions = np.full((len(photographs), 3), np.nan)
    origin = plane.origin
    for number, photograph in enumerate(photographs):
        pose = photograph.pose
        if pose is None:
            continue
        origin = origin or (pose.lat_deg, pose.lon_deg, pose.height_m)
        axes[number] = pose.axes @ frame.T
        positions[number] = frame @ east_north_up(pose, origin)
    return axes, positions


def plane_of(face: Face | None) -> FacePlane:
    """Return the plane that a survey's face describes.

    Raises:
        ConfigError: its origin is in map coordinates whose reference system is not known.
        MissingExtra: map coordinates need pyproj.
    """
    if face is None:
        return FacePlane()
    origin = face.origin_gps or _to_gps(face)
    return FacePlane(
        name=face.name,
        azimuth_deg=face.azimuth_deg,
        batter=face.batter or 0.0,
        origin=origin,
        station_m=face.origin_station_m,
        elevation_m=face.elevation_m or 0.0,
        rightwards=face.stations_grow_to == "right",
    )


def _to_gps(face: Face) -> tuple[float, float, float] | None:
    if face.origin is None:
        return None
    require("pyproj", extra="geo")
    import pyproj

    try:
        transformer = pyproj.Transformer.from_crs(face.crs, "EPSG:4326", always_xy=True)
        lon, lat = transformer.transform(face.origin[0], face.origin[1])
    except pyproj.exceptions.ProjError as error:
        raise ConfigError(f"`face.crs` must be a reference system, got {face.crs!r}.") from error
    if not (math.isfinite(lat) and math.isfinite(lon)):
        raise ConfigError(f"`face.origin` {face.origin} lies outside of {face.crs}.")
    return lat, lon, face.origin[2]
