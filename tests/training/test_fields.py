"""Annotation files whose fields lack or are of another kind end in a sentence, of any tool."""

from __future__ import annotations

import base64
import copy
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from crackseg.errors import DataError
from crackseg.training.annotations import ImportOptions, import_annotations

SHAPE = 30, 40
PAIRS = [[4, 6], [24, 6], [24, 9], [4, 9]]
FLAT = [4, 6, 24, 6, 24, 9, 4, 9]
ODD = (
    None, True, "x", "", "[", 5, -1, 0.5, 10**400, float("nan"), [], ["x"], [[1]], [1, 2, 3],
    [[1, 2], [3]], {}, {"x": None},
)  # fmt: skip
# What a library says of a value that it cannot take.
LIBRARY = re.compile(
    r"wrong form|NoneType|object|could not|convert|unsupported|operand|unhashable|argument|"
    r"indices|dimension|out of range|invalid lit|inhomogeneous|codec|int\(\)|<class|too large"
)


def _png():
    file = io.BytesIO()
    Image.fromarray(np.full((3, 4), 255, np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _labelme():
    def shape(kind, points, **more):
        return {"label": "crack", "shape_type": kind, "points": points, **more}

    return {
        "imagePath": "p1.png",
        "imageHeight": SHAPE[0],
        "imageWidth": SHAPE[1],
        "flags": {"wet": True},
        "shapes": [
            shape("polygon", PAIRS),
            shape("linestrip", PAIRS, attributes={"width_px": 3}, description="sure"),
            shape("rectangle", PAIRS[:2]),
            shape("circle", PAIRS[:2]),
            shape("mask", PAIRS[:2], mask=_png()),
        ],
    }


def _coco():
    def item(number, segmentation):
        return {"id": number, "image_id": 1, "category_id": 1, "segmentation": segmentation}

    runs = {"size": list(SHAPE), "counts": [10, 5, SHAPE[0] * SHAPE[1] - 15]}
    image = {"id": 1, "file_name": "p1.png", "height": SHAPE[0], "width": SHAPE[1]}
    return {
        "images": [image],
        "categories": [{"id": 1, "name": "crack"}],
        "annotations": [item(1, [FLAT]), item(2, runs), {**item(3, [FLAT]), "attributes": {}}],
    }


def _via():
    def region(**form):
        return {"shape_attributes": form, "region_attributes": {"kind": "crack", "width_px": "3"}}

    x, y = FLAT[::2], FLAT[1::2]
    regions = [
        region(name="polygon", all_points_x=x, all_points_y=y),
        region(name="polyline", all_points_x=x, all_points_y=y),
        region(name="rect", x=4, y=5, width=9, height=9),
        region(name="circle", cx=10, cy=10, r=4),
        region(name="ellipse", cx=10, cy=10, rx=4, ry=5, theta=0.1),
    ]
    return {"p1.png": {"filename": "p1.png", "regions": regions}}


def _label_studio():
    def region(kind, **value):
        value[f"{kind}labels"] = ["crack"]
        sides = {"original_width": SHAPE[1], "original_height": SHAPE[0]}
        return {"type": f"{kind}labels", **sides, "image_rotation": 0, "value": value}

    place = {"x": 20, "y": 20}
    result = [
        region("polygon", points=PAIRS, closed=True),
        region("rectangle", **place, width=9, height=9, rotation=0),
        region("ellipse", **place, radiusX=9, radiusY=9, rotation=3),
        region("brush", rle=[0, 0, 18, 192, 57, 222, 238, 1]),
    ]
    return [{"id": 1, "data": {"image": "p1.png"}, "annotations": [{"result": result}]}]


FILES = {"labelme": _labelme, "coco": _coco, "via": _via, "labelstudio": _label_studio}


def _places(value, above=()):
    """Yield where in a document each value stands."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for name, part in inside:
        yield (*above, name)
        if isinstance(part, dict | list):
            yield from _places(part, (*above, name))


def _changed(document, place, value):
    """Return a document with another value at a place; ``...``: without it."""
    changed = copy.deepcopy(document)
    at = changed
    for name in place[:-1]:
        at = at[name]
    if value is ...:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return changed


def _fault(tmp_path, tool, text):
    """Return what an import says against a file, None where it takes it."""
    pictures = tmp_path / "pictures"
    pictures.mkdir(exist_ok=True)
    if not (pictures / "p1.png").exists():
        grey = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), np.uint8)
        Image.fromarray(grey).save(pictures / "p1.png")
    file = tmp_path / f"file.{'xml' if tool == 'cvat' else 'json'}"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    out = tmp_path / f"set {len(list(tmp_path.iterdir()))}"
    try:
        import_annotations(file, pictures, out, format=tool, options=ImportOptions(line_px=2.0))
    except DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize("tool", FILES)
def test_any_field_that_lacks_or_is_of_another_kind_is_a_sentence(tool, tmp_path):
    document = FILES[tool]()
    faults = 0
    for place in _places(document):
        if "rle" in place[:-1]:
            continue  # bytes of a code
        for value in (*ODD, ...):
            told = _fault(tmp_path, tool, json.dumps(_changed(document, place, value)))
            if told is not None:
                faults += 1
                rest = told.replace(str(tmp_path / "file.json"), "")
                assert rest != told, (place, value, told)
                assert not LIBRARY.search(rest), (place, value, told)
    assert faults > 200


CVAT = f"""<annotations><image id="0" name="p1.png" width="{SHAPE[1]}" height="{SHAPE[0]}">
<polygon label="crack" points="4,6;24,6;24,9"/>
<polyline label="crack" points="4,6;24,6" z_order="1">
<attribute name="width_px">3</attribute></polyline>
<box label="crack" xtl="4" ytl="5" xbr="20" ybr="9" rotation="4"/>
<ellipse label="crack" cx="14" cy="15" rx="5" ry="4"/>
<mask label="crack" rle="2,5,5" left="3" top="4" width="4" height="3"/></image></annotations>"""


def test_any_attribute_of_cvat_that_lacks_or_is_of_another_kind_is_a_sentence(tmp_path):
    assert _fault(tmp_path, "cvat", CVAT) is None
    for found in re.finditer(r' (\w+)="([^"]*)"', CVAT):
        for value in ("x", "", "nan", "1,2,3;4", "1e999", "-5", ...):
            other = "" if value is ... else f' {found[1]}="{value}"'
            text = CVAT[: found.start()] + other + CVAT[found.end() :]
            told = _fault(tmp_path, "cvat", text)
            if told is not None:
                assert str(tmp_path / "file.xml") in told
                assert not LIBRARY.search(told.replace(str(tmp_path), "")), (found[0], value, told)


@pytest.mark.parametrize("line", ["x 0.1 0.1 0.2 0.2 0.3 0.3", "0 a 0.1 0.2 0.2 0.3 0.3", "\xe4 1"])
def test_lines_of_yolo_that_are_none(line, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "p1.txt").write_text(line, encoding="latin-1")
    with pytest.raises(DataError, match=r"p1\.txt") as caught:
        import_annotations(
            tmp_path / "labels", tmp_path, tmp_path / "set", format="yolo", options=ImportOptions()
        )
    assert not LIBRARY.search(str(caught.value).replace(str(tmp_path), ""))


def test_json_is_read_in_every_encoding_of_unicode(tmp_path):
    text = json.dumps(_coco() | {"note": "Südwand"}, ensure_ascii=False)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        assert _fault(tmp_path, "coco", text.encode(encoding)) is None
    told = _fault(tmp_path, "coco", text.encode("latin-1"))
    assert told is not None
    assert "neither UTF-8 nor UTF-16 text; save it as UTF-8" in told


@pytest.mark.parametrize(
    ("tool", "place", "value", "words"),
    [
        ("via", ("p1.png", "regions", 0, "shape_attributes", "all_points_x"), [1, 2],
         "region 1: `all_points_x` and `all_points_y` must be of one length, got 2 and 4 numbers"),
        ("labelme", ("shapes", 4, "mask"), None, "shape 5: `mask` must be a text, got null"),
        ("labelme", ("shapes", 0, "points"), [[1, 2, 3]] * 4, "points must be pairs of finite"),
        ("coco", ("images", 0, "height"), 10**9, "`height` must be a number of pixels from 1 to"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_field(tool, place, value, words, tmp_path):
    told = _fault(tmp_path, tool, json.dumps(_changed(FILES[tool](), place, value)))
    assert told is not None
    assert words in told
