"""The map in the world: east, north and height, each file read by none of its writers."""

from __future__ import annotations

import sqlite3
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from crackseg.face.layers import write_layers
from crackseg.face.mapping import FaceMap
from crackseg.face.plane import FacePlane
from crackseg.face.space import notice_of_space, space_of

pyproj = pytest.importorskip("pyproj", reason="extra geo is not installed")
PLANE = FacePlane(azimuth_deg=200.0, batter=0.5, origin=(46.55, 8.345, 400.0))


@pytest.mark.parametrize("crs", ["", "EPSG:2056", "EPSG:25832", "EPSG:4326"])
def test_places_of_the_face_lie_where_its_origin_and_azimuth_say(crs: str) -> None:
    """The reference is another way: geodesics on the ellipsoid, between points in degrees."""
    space = space_of(PLANE, crs)
    assert space is not None
    assert space.crs == ("EPSG:32632" if crs in ("", "EPSG:4326") else crs)
    world = space.to_world(np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 8.0]]))
    back = pyproj.Transformer.from_crs(space.crs, "EPSG:4326", always_xy=True)
    lons, lats = back.transform(world[:, 0], world[:, 1])
    assert (lats[0], lons[0], world[0, 2]) == pytest.approx((46.55, 8.345, 400.0), abs=2e-8)
    geod = pyproj.Geod(ellps="WGS84")
    bearing, _, far = geod.inv(lons[0], lats[0], lons[1], lats[1])
    assert far == pytest.approx(20.0, abs=2e-3)
    assert bearing % 360 == pytest.approx(PLANE.azimuth_deg - 90, abs=0.01)  # to the viewer's right
    bearing, _, far = geod.inv(lons[0], lats[0], lons[2], lats[2])
    assert bearing % 360 == pytest.approx(PLANE.azimuth_deg - 180, abs=0.01)  # up is away from him
    assert world[2, 2] - world[0, 2] == pytest.approx(8.0 * PLANE.rise)
    assert far == pytest.approx(0.5 * 8.0 * PLANE.rise, abs=1e-3)


def test_what_is_not_known_gives_no_places() -> None:
    assert space_of(replace(PLANE, azimuth_deg=None)) is None
    assert space_of(replace(PLANE, origin=None)) is None


def test_without_proj_places_are_metres_from_the_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    space = space_of(replace(PLANE, azimuth_deg=180.0, batter=0.0))
    assert space is not None
    assert space.crs is None
    assert space.to_world(np.array([[3.0, 2.0]]))[0] == pytest.approx([3.0, 0.0, 402.0], abs=1e-9)


def test_without_proj_the_map_says_that_no_system_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert notice_of_space(PLANE) == []
    packages = {"ezdxf"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name in packages or None)
    notices = notice_of_space(PLANE)
    assert [notice.code for notice in notices] == ["no_reference_system"]
    assert "crackseg[geo]" in notices[0].message
    assert notice_of_space(replace(PLANE, origin=None)) == []
    packages.clear()
    assert notice_of_space(PLANE) == []  # no file in space is written


def lines_in(path: Path, table: str) -> list[tuple[str, shapely.Geometry]]:
    """Return the shapes of a table of a GeoPackage by its specification, with their type."""
    with sqlite3.connect(path) as base:
        kind = base.execute(
            "SELECT geometry_type_name FROM gpkg_geometry_columns WHERE table_name = ?", (table,)
        ).fetchone()[0]
        blobs = [row[0] for row in base.execute(f"SELECT geom FROM {table}")]
    base.close()
    sizes = (0, 32, 48, 48, 64)
    return [(kind, shapely.from_wkb(blob[8 + sizes[blob[3] >> 1 & 7] :])) for blob in blobs]


def test_the_files_in_space_hold_every_crack_with_its_heights(
    face_map: FaceMap, tmp_path: Path
) -> None:
    ezdxf = pytest.importorskip("ezdxf", reason="extra gis is not installed")
    paths = {path.name: path for path in write_layers(face_map, tmp_path)}
    assert set(paths) == {"face.gpkg", "face.dxf", "face_3d.gpkg", "face_3d.dxf"}
    cracks = lines_in(paths["face_3d.gpkg"], "cracks_3d")
    assert len(cracks) == len(face_map.cracks)
    for (_, line), crack in zip(cracks, face_map.cracks, strict=True):
        points = shapely.get_coordinates(line, include_z=True)
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        own = 1e-3 * (crack.length.value_mm or 0.0)
        assert steps[steps < 0.2].sum() == pytest.approx(own, rel=5e-3)
        assert points[:, 2].min() == pytest.approx(
            face_map.plane.to_map(crack.points_m)[:, 1].min(), abs=1e-6
        )
    with sqlite3.connect(paths["face_3d.gpkg"]) as base:
        header = base.execute("SELECT geom FROM cracks_3d").fetchone()[0][:8]
        system = base.execute("SELECT organization_coordsys_id FROM gpkg_spatial_ref_sys "
                              "WHERE srs_id = ?", struct.unpack("<i", header[4:8]))  # fmt: skip
        assert system.fetchone() == (32632,)
    base.close()
    drawing = ezdxf.readfile(paths["face_3d.dxf"])
    assert not drawing.audit().has_errors
    lines = [e for e in drawing.modelspace() if e.dxf.layer.startswith("CRACKS")]
    assert {e.dxftype() for e in lines} == {"POLYLINE"}
    heights = [v.dxf.location.z for e in lines for v in e.vertices]
    assert 400.0 < min(heights) < max(heights) < 403.5


def test_a_map_without_a_place_has_no_files_in_space(face_map: FaceMap, tmp_path: Path) -> None:
    loose = replace(face_map, scale=replace(face_map.scale, placed=False))
    assert not [path for path in write_layers(loose, tmp_path) if "3d" in path.name]
