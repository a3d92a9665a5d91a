"""Label Studio, VIA and YOLO-seg files become shapes; what would be a guess is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from crackseg.errors import DataError
from crackseg.training.annotations import ImportOptions, import_annotations
from crackseg.training.areas import LEFT_OUT, OTHER_LINE, read_areas
from crackseg.training.manifest import read_pair

SHAPE = 60, 80
BOX = np.s_[10:20, 16:40]


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        pixels = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture
def box():
    mask = np.zeros(SHAPE, bool)
    mask[BOX] = True
    return mask


def _import(source, pictures, tool, **options):
    chosen = ImportOptions(**options)
    out = pictures.parent / "set"
    return import_annotations(source, pictures, out, format=tool, options=chosen)


def _region(kind, value, label="crack"):
    facts = {"original_width": SHAPE[1], "original_height": SHAPE[0], "id": "r1"}
    return {"type": f"{kind}labels", **facts, "value": {**value, f"{kind}labels": [label]}}


def _points(left, top, right, bottom):
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return {"points": [[100 * x / SHAPE[1], 100 * y / SHAPE[0]] for x, y in corners]}


def _pack(values):
    """Pack bytes as a brush does, all in runs of single values of eight bits."""
    bits = f"{len(values):032b}" + f"{7:05b}" + f"{7:04b}" * 4
    k = 0
    while k < len(values):
        run = 1
        while k + run < len(values) and run < 256 and values[k + run] == values[k]:
            run += 1
        bits += "1" + "00" + f"{run - 1:08b}" + f"{values[k]:08b}"
        k += run
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def _tasks(tmp_path, *tasks):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(list(tasks)), encoding="utf-8")
    return path


def _task(result, image="/data/local-files/?d=flight%201/a.png", **more):
    return {"id": 1, "data": {"image": image}, "annotations": [{"result": result}], **more}


def _brush(box):
    rgba = np.zeros((*SHAPE, 4), np.uint8)
    rgba[box] = 255
    return _region("brush", {"format": "rle", "rle": _pack(rgba.ravel().tolist())})


_AT = {"x": 20, "y": 20, "width": 10, "height": 10}


def _turned(region):
    return region | {"image_rotation": 90}


def _two_labels():
    region = _region("polygon", _points(1, 1, 9, 9))
    region["value"]["polygonlabels"] = ["stain", "crack"]
    return region


def _is_in_ellipse(cx, cy, rx, ry, degrees):
    """Return which pixels of the picture have their centre in an ellipse, turned clockwise."""
    rows, cols = np.indices(SHAPE) + 0.5
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    along = (cols - cx) * cos + (rows - cy) * sin
    across = (rows - cy) * cos - (cols - cx) * sin
    return (along / rx) ** 2 + (across / ry) ** 2 <= 1


@pytest.mark.parametrize("degrees", [0, 30, 90, -75])
@pytest.mark.parametrize("tool", ["labelstudio", "via"])
def test_turned_ellipses(tool, degrees, pictures, tmp_path):
    if tool == "via":
        form = {"name": "ellipse", "cx": 40, "cy": 30, "rx": 20, "ry": 6}
        source = _via(tmp_path, form | {"theta": np.radians(degrees)})
    else:
        radii = {"radiusX": 100 * 20 / SHAPE[1], "radiusY": 100 * 6 / SHAPE[0]}
        value = {"x": 50, "y": 50, **radii, "rotation": degrees}
        source = _tasks(tmp_path, _task([_region("ellipse", value)]))
    mask = read_pair(_import(source, pictures, tool).samples[0])[1]
    wanted = _is_in_ellipse(40, 30, 20, 6, degrees)
    assert np.count_nonzero(mask != wanted) <= 4  # of 376: corners of the ring and its curve
    assert np.count_nonzero(wanted) > 350


def test_an_open_line_of_label_studio_gets_the_width_that_is_given(pictures, tmp_path):
    line = {"points": [[20, 50], [80, 50]], "closed": False}
    source = _tasks(tmp_path, _task([_region("polygon", line)]))
    mask = read_pair(_import(source, pictures, "labelstudio", line_px=4.0).samples[0])[1]
    assert mask[29, 20:60].all()
    assert np.count_nonzero(mask[:, 40]) == 4


@pytest.mark.parametrize("make", [lambda box: _region("polygon", _points(16, 10, 40, 20)), _brush])
def test_label_studio_shapes(make, box, pictures, tmp_path):
    (sample,) = _import(_tasks(tmp_path, _task([make(box)])), pictures, "labelstudio").samples
    assert np.array_equal(read_pair(sample)[1], box)


def test_labels_that_are_no_crack_become_areas(box, pictures, tmp_path):
    result = [
        _region("polygon", _points(16, 10, 40, 20)),
        _region("polygon", _points(50, 30, 70, 40), "unsure"),
        _region("polygon", _points(0, 50, 80, 54), "joint"),
    ]
    options = {"labels": ("crack",), "left_out": ("unsure",), "others": ("joint",)}
    done = _import(_tasks(tmp_path, _task(result)), pictures, "labelstudio", **options)
    mask = read_pair(done.samples[0])[1]
    areas = read_areas(done.samples[0], SHAPE)
    assert np.array_equal(mask, box)
    assert (areas[30:40, 50:70] == LEFT_OUT).all()
    assert (areas[50:54] == OTHER_LINE).all()
    assert np.count_nonzero(areas) == 10 * 20 + 4 * 80


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ({"data": {"text": "a"}, "annotations": [{"result": []}]}, "names no picture"),
        (_task([]) | {"annotations": [{"result": []}, {"result": []}]}, "has 2 annotations"),
        (_task([_turned(_region("polygon", _points(1, 1, 9, 9)))]), "was turned by 90 degrees"),
        (_task([_two_labels()]), "has the labels stain, crack, and which one counts"),
        (_task([_region("polygon", _points(1, 1, 9, 9) | {"closed": False})]), "line"),
        (_task([_region("rectangle", _AT | {"rotation": 30})]), "is turned; draw it as a polygon"),
        (_task([_region("keypoint", {"x": 1, "y": 2})]), "`keypointlabels`, which cannot be"),
        (_task([_region("brush", {"rle": [0, 0, 0, 4, 57, 0, 0, 0, 0]})]), "must hold 60 x 80 px"),
    ],
)
def test_what_label_studio_does_not_tell_is_refused(task, sentence, pictures, tmp_path):
    with pytest.raises(DataError, match=sentence):
        _import(_tasks(tmp_path, task), pictures, "labelstudio")
    assert not (pictures.parent / "set").exists()


def test_json_min_is_named(pictures, tmp_path):
    path = tmp_path / "min.json"
    path.write_text(json.dumps([{"image": "a.png", "label": []}]), encoding="utf-8")
    with pytest.raises(DataError, match="not JSON-MIN"):
        _import(path, pictures, "labelstudio")


def _via(tmp_path, shape, attributes=None):
    region = {"shape_attributes": shape, "region_attributes": attributes or {"kind": "crack"}}
    entry = {"filename": "a.png", "size": 1, "regions": [region], "file_attributes": {}}
    path = tmp_path / "via.json"
    path.write_text(json.dumps({"_via_img_metadata": {"a.png1": entry}}), encoding="utf-8")
    return path


def test_via_polygons_and_boxes(box, pictures, tmp_path):
    corners = {"all_points_x": [16, 40, 40, 16], "all_points_y": [10, 10, 20, 20]}
    source = _via(tmp_path, {"name": "polygon", **corners})
    assert np.array_equal(read_pair(_import(source, pictures, "via").samples[0])[1], box)


@pytest.mark.parametrize(
    ("shape", "attributes", "sentence"),
    [
        ({"name": "point", "cx": 1, "cy": 1}, None, "`point`, which cannot be filled"),
        ({"name": "rect", "x": 1, "y": 1, "width": 2, "height": 2}, {"a": "x", "b": "y"}, "got 2"),
        ({"name": "rect", "x": 1}, None, "'y' is missing"),
    ],
)
def test_what_via_does_not_tell_is_refused(shape, attributes, sentence, pictures, tmp_path):
    with pytest.raises(DataError, match=sentence):
        _import(_via(tmp_path, shape, attributes), pictures, "via")


def test_ticked_boxes_of_via_are_names(box, pictures, tmp_path):
    corners = {"all_points_x": [16, 40, 40, 16], "all_points_y": [10, 10, 20, 20]}
    ticked = {"kind": {"crack": True, "joint": False}}
    source = _via(tmp_path, {"name": "polygon", **corners}, ticked)
    done = _import(source, pictures, "via")
    assert done.labels == ("crack",)
    assert np.array_equal(read_pair(done.samples[0])[1], box)
    both = {"kind": {"crack": True, "joint": True}}
    with pytest.raises(DataError, match="one attribute that names it, got 2"):
        _import(_via(tmp_path, {"name": "polygon", **corners}, both), pictures, "via")


def test_a_project_of_via_3_is_named(pictures, tmp_path):
    project = {"project": {}, "config": {}, "file": {}, "metadata": {}, "view": {}}
    (tmp_path / "via.json").write_text(json.dumps(project), encoding="utf-8")
    with pytest.raises(DataError, match="is a project of VIA 3; export it as COCO"):
        _import(tmp_path / "via.json", pictures, "via")


def test_yolo_names_lie_above_the_folders_of_its_parts(pictures, tmp_path):
    labels = tmp_path / "task" / "train" / "labels"
    labels.mkdir(parents=True)
    (labels / "a.txt").write_text("0 0.2 0.2 0.5 0.2 0.5 0.4\n", encoding="utf-8")
    data = tmp_path / "task" / "data.yaml"
    data.write_text("names: {0: joint, 1: crack}  # of Roboflow\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"which labels are crack: .* uses crack, joint"):
        _import(labels, pictures, "yolo")
    data.write_text("names: classes.txt\n", encoding="utf-8")
    with pytest.raises(DataError, match="`names` must be a list, or numbers with names"):
        _import(labels, pictures, "yolo")
    data.write_text("names: [joint]\nkpt_shape: [2, 3]\n", encoding="utf-8")
    with pytest.raises(DataError, match="boxes with points, no outlines"):
        _import(labels, pictures, "yolo")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("data.yml", "names: {0: joint,\n  1: 'crack'}\n"),
        ("data.yaml", "names:\n  - joint # of lifts\n  - crack\n"),
        ("classes.txt", "joint\ncrack\n"),
        ("data.yaml", "path: .\nnames: ['joint', \"crack\"]\nnc: 2\n"),
        ("data.yaml", "train: x\nnames:\n  0: joint\n  1: crack\nnc: 2\n"),
        ("data.yaml", "names:\n- joint\n- crack\n"),
    ],
)
def test_yolo_outlines_and_class_names(file, text, box, pictures, tmp_path):
    labels = tmp_path / "task" / "labels"
    labels.mkdir(parents=True)
    (tmp_path / "task" / file).write_text(text, encoding="utf-8")
    corners = [(16, 10), (40, 10), (40, 20), (16, 20)]
    line = " ".join(f"{x / SHAPE[1]:.6f} {y / SHAPE[0]:.6f}" for x, y in corners)
    (labels / "a.txt").write_text(f"1 {line}\n", encoding="utf-8")
    (labels / "b.txt").write_text("", encoding="utf-8")
    done = _import(tmp_path / "task", pictures, "yolo", labels=("crack",))
    assert np.array_equal(read_pair(done.samples[0])[1], box)
    assert done.empty == 1


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("0 0.5 0.5 0.1 0.1", "has a box alone"),
        ("0 16 10 40 10 40 20", "shares of the picture's size"),
        ("0 0.1 0.1 0.2 0.2 0.3", "has 5 numbers"),
        ("crack 0.1 0.1 0.2 0.2 0.3 0.1", "line 1"),
    ],
)
def test_what_yolo_does_not_tell_is_refused(line, sentence, pictures, tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "a.txt").write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match=sentence):
        _import(tmp_path / "task", pictures, "yolo")


_SPALL = _region("polygon", _points(16, 10, 40, 20), "spall")


@pytest.mark.parametrize(
    "result",
    [
        [{"type": "choices", "value": {"choices": ["Crack"]}}],
        [{"type": "choices", "value": {"choices": ["crack"]}}, _SPALL],
        [{"type": "taxonomy", "value": {"taxonomy": [["damage", "crack"]]}}],
    ],
)
def test_a_picture_that_label_studio_calls_cracked_is_no_sound_one(result, pictures, tmp_path):
    source = _tasks(tmp_path, _task(result, image="a.png"))
    with pytest.raises(DataError, match=r"is tagged `[cC]rack` and no crack is outlined"):
        _import(source, pictures, "labelstudio", labels=("crack",))


@pytest.mark.parametrize(
    "attributes", [{"damage": "crack"}, {"damage": {"crack": True}}, {"crack": "yes"}]
)
def test_a_picture_that_via_calls_cracked_is_no_sound_one(attributes, pictures, tmp_path):
    path = tmp_path / "v.json"
    entry = {"filename": "a.png", "size": 1, "regions": [], "file_attributes": attributes}
    path.write_text(json.dumps({"a.png1": entry}))
    with pytest.raises(DataError, match="is tagged `crack` and no crack is outlined"):
        _import(path, pictures, "via", labels=("crack",))
    entry["file_attributes"] = {"damage": {"crack": False}, "caption": "", "crack": "no"}
    path.write_text(json.dumps({"a.png1": entry}))
    assert _import(path, pictures, "via", labels=("crack",)).empty == 1


@pytest.mark.parametrize("name", ["Maür 1.png", "a (2).png", "a_b.png"])
def test_an_upload_is_found_by_the_name_it_was_kept_by(pictures, tmp_path, name):
    (pictures / "a.png").rename(pictures / name)
    kept = name.replace(" ", "_").replace("(", "").replace(")", "")
    task = _task(
        [_region("polygon", _points(16, 10, 40, 20))], image=f"/data/upload/1/0123abcd-{kept}"
    )
    done = _import(_tasks(tmp_path, task), pictures, "labelstudio")
    assert [sample.image.name for sample in done.samples] == [name]


def test_an_upload_that_may_be_of_two_photographs_is_refused(pictures, tmp_path):
    for before, after in (("a.png", "a b.png"), ("b.png", "a_b.png")):
        (pictures / before).rename(pictures / after)
    task = _task([], image="/data/upload/1/0123abcd-a_b.png")
    with pytest.raises(DataError, match="which is not sure"):
        _import(_tasks(tmp_path, task), pictures, "labelstudio")


def test_predictions_are_no_ground_truth(pictures, tmp_path):
    region = _region("polygon", _points(16, 10, 40, 20))
    task = {"id": 1, "data": {"image": "a.png"}, "predictions": [{"result": [region]}]}
    with pytest.raises(DataError, match="1 of 1 tasks hold predictions alone"):
        _import(_tasks(tmp_path, task), pictures, "labelstudio")
    annotated = _task([region], image="b.png")
    done = _import(_tasks(tmp_path, task, annotated), pictures, "labelstudio")
    assert [sample.image.name for sample in done.samples] == ["b.png"]
    assert done.notes[0] == (
        "1 picture of `--images` has no annotation and is not imported: a.png."
    )


def test_pictures_that_nobody_annotated_are_named(pictures, tmp_path):
    for k in range(6):
        (pictures / f"more{k}.png").write_bytes((pictures / "b.png").read_bytes())
    task = _task([_region("polygon", _points(16, 10, 40, 20))], image="a.png")
    (note,) = _import(_tasks(tmp_path, task), pictures, "labelstudio").notes
    assert note == (
        "7 pictures of `--images` have no annotation and are not imported: b.png, more0.png, "
        "more1.png, more2.png, more3.png and 2 more."
    )


@pytest.mark.parametrize("tool", ["labelstudio", "via", "yolo"])
@pytest.mark.parametrize(
    ("corners", "sentence"),
    [
        (((10, 10), (60, 50), (60, 10), (10, 50)), "crosses itself like a bow tie"),
        (((8, 12), (8, 12), (8, 12)), "all of its points lie at one place, x = 8, y = 12"),
    ],
)
def test_an_outline_that_no_tool_should_let_pass(tool, corners, sentence, pictures, tmp_path):
    x, y = (list(part) for part in zip(*corners, strict=True))
    if tool == "labelstudio":
        points = [[100 * a / SHAPE[1], 100 * b / SHAPE[0]] for a, b in corners]
        source = _tasks(tmp_path, _task([_region("polygon", {"points": points})]))
    elif tool == "via":
        source = _via(tmp_path, {"name": "polygon", "all_points_x": x, "all_points_y": y})
    else:
        source = tmp_path / "task"
        source.mkdir()
        shares = " ".join(f"{a / SHAPE[1]} {b / SHAPE[0]}" for a, b in corners)
        (source / "a.txt").write_text(f"0 {shares}\n")
    with pytest.raises(DataError, match=sentence):
        _import(source, pictures, tool)
    assert not (pictures.parent / "set").exists()
