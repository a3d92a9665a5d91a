"""Places on the face become east, north and height, where the survey says where the face lies.

East and north are in the reference system that survey.toml names for the origin, else in the UTM
zone of the origin; turned by way of latitude and longitude, so that the grid's north, which is not
the compass's, does no harm. Without pyproj they are metres from the origin, and no system is named.
Heights are those of the origin, whatever they were counted from there.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass

import numpy as np

from crackseg.face.photographs import earth_radii_m
from crackseg.face.plane import FacePlane
from crackseg.records import Array, Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """How the plane of a face lies in the world."""

    plane: FacePlane
    crs: str | None  # of east and north; None: metres from the origin

    def to_world(self, places_m: Array) -> Array:
        """Return (N, 3) east, north, height of (N, 2) places x, y on the face."""
        origin, azimuth = self.plane.origin, self.plane.azimuth_deg
        if origin is None or azimuth is None:  # ``space_of`` gives none then
            raise ValueError("the plane has no origin or no azimuth.")
        lat, lon, height = origin
        flat = np.column_stack([places_m, np.zeros(len(places_m))])
        east, north, up = (flat @ self.plane.frame(azimuth)).T
        if self.crs is None:
            return np.column_stack([east, north, height + up])
        import pyproj

        to_north, to_east = earth_radii_m(lat)
        lons, lats = lon + np.degrees(east / to_east), lat + np.degrees(north / to_north)
        change = pyproj.Transformer.from_crs("EPSG:4326", self.crs, always_xy=True)
        x, y = change.transform(lons, lats)
        return np.column_stack([x, y, height + up])


def space_of(plane: FacePlane, crs: str = "") -> Space | None:
    """Return how a face lies in the world, or None where its origin or azimuth is not known.

    Args:
        plane: of the face.
        crs: that survey.toml names for the origin, in metres; empty: the UTM zone of the origin.
    """
    if plane.origin is None or plane.azimuth_deg is None:
        return None
    if importlib.util.find_spec("pyproj") is None:
        return Space(plane=plane, crs=None)
    return Space(plane=plane, crs=crs if crs and _is_metric(crs) else _utm(*plane.origin[:2]))


def notice_of_space(plane: FacePlane, crs: str = "") -> list[Notice]:
    """Return what to mind of the files in space: without pyproj they are in no reference system."""
    space = space_of(plane, crs)
    if space is None or space.crs is not None:
        return []
    if not any(map(importlib.util.find_spec, ("pyogrio", "ezdxf"))):  # no such file is written
        return []
    text = (
        "east and north in `face_3d` are metres from the face's origin, in no reference system: "
        "pyproj is missing; install `crackseg[geo]` and make the map again."
    )
    return [Notice(code="no_reference_system", message=text)]


def _is_metric(crs: str) -> bool:
    import pyproj

    system = pyproj.CRS.from_user_input(crs)
    return system.is_projected and all(a.unit_conversion_factor == 1 for a in system.axis_info[:2])


def _utm(lat: float, lon: float) -> str:
    zone = min(max(math.floor((lon + 180) / 6) + 1, 1), 60)
    return f"EPSG:{32600 + zone if lat >= 0 else 32700 + zone}"
