"""What annotation tools really write: right, or refused by file and shape and nothing left."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from crackseg.commands import app
from crackseg.errors import DataError
from crackseg.imagery.masks import MaskRule, encode_mask, read_mask
from crackseg.training.annotations import ImportOptions, import_annotations
from crackseg.training.manifest import index_folder, read_pair

HEIGHT, WIDTH = 80, 100
SQUARE = [10, 10, 90, 10, 90, 70, 10, 70]  # 80 x 60 px
BIG = [0, 0, 99, 0, 99, 70, 0, 70]
HOLE = [30, 30, 70, 30, 70, 50, 30, 50]  # 40 x 20 px


def save_picture(file, tone=140):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((HEIGHT, WIDTH), tone, np.uint8)).save(file)


@pytest.fixture
def pictures(tmp_path):
    save_picture(tmp_path / "pics" / "a.png")
    return tmp_path / "pics"


@pytest.mark.parametrize(
    ("there", "named"), [("x.webp", "`x.webp` is of a form that is not read"), ("y.png", "")]
)
def test_a_photograph_of_another_form_is_named(pictures, tmp_path, there, named):
    (pictures / there).write_bytes(b"RIFF")
    with pytest.raises(DataError, match=f"no photograph `x.jpg` in .*{named}"):
        import_annotations(
            cvat(tmp_path, "", name="x.jpg"),
            pictures,
            tmp_path / "set",
            format="cvat",
            options=ImportOptions(),
        )


def test_what_cannot_be_read_is_named_by_its_own_path(pictures, tmp_path):
    (pictures / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=rf"`{re.escape(str(pictures / 'a.png'))}` is empty"):
        import_annotations(
            cvat(tmp_path, ""), pictures, tmp_path / "set", format="cvat", options=ImportOptions()
        )
    assert not (tmp_path / "set").exists()


def test_photographs_of_jfif_are_read_as_the_analysis_does(pictures, tmp_path):
    (pictures / "a.png").unlink()
    Image.fromarray(np.full((HEIGHT, WIDTH), 140, np.uint8)).save(pictures / "a.jfif", "JPEG")
    done = import_annotations(
        cvat(tmp_path, "", name="a.jfif"),
        pictures,
        tmp_path / "set",
        format="cvat",
        options=ImportOptions(),
    )
    assert [sample.image.name for sample in done.samples] == ["a.jfif"]
    assert [sample.image.name for sample in index_folder(tmp_path / "set")] == ["a.jfif"]


def annotation(segmentation, number=1, image=1, category=1, **more):
    named = {"id": number, "image_id": image, "category_id": category, "iscrowd": 0}
    return named | {"segmentation": segmentation} | more


def coco(tmp_path, *annotations, names=("a.png",), categories=("crack",), encoding="utf-8"):
    data = {
        "images": [
            {"id": k, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for k, name in enumerate(names, start=1)
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(categories, start=1)],
        "annotations": list(annotations),
    }
    file = tmp_path / "coco.json"
    file.write_text(json.dumps(data), encoding=encoding)
    return file


def cvat(tmp_path, inner, name="a.png", meta=""):
    file = tmp_path / "cvat.xml"
    file.write_text(
        f'<annotations>{meta}<image id="0" name="{name}" width="{WIDTH}" height="{HEIGHT}">'
        f"{inner}</image></annotations>",
        encoding="utf-8-sig",
    )
    return file


def labelme(tmp_path, *shapes, file="a.json", **more):
    path = tmp_path / "notes" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"imagePath": "a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes}
    path.write_text(json.dumps(data | more))
    return tmp_path / "notes"


def shape(points, kind="polygon", label="crack", **more):
    return {"label": label, "shape_type": kind, "points": points} | more


def run(tmp_path, source, pictures, **options):
    kind = {".json": "coco", ".xml": "cvat"}.get(source.suffix, "labelme")
    how = ImportOptions(**options)
    return import_annotations(source, pictures, tmp_path / "set", format=kind, options=how)


def mask_of(done, number=0):
    return read_pair(done.samples[number])[1]


def ring(text):
    return ";".join(f"{x},{y}" for x, y in zip(text[::2], text[1::2], strict=True))


def test_a_hair_crack_becomes_a_line_of_one_pixel(tmp_path, pictures):
    across = [10.1, 20.55, 80, 20.55, 80, 21.25, 10.1, 21.25]  # 0.7 px between two rows of centres
    done = run(tmp_path, coco(tmp_path, annotation([across])), pictures)
    rows, cols = np.nonzero(mask_of(done))
    assert set(rows.tolist()) == {20}
    assert cols.tolist() == list(range(10, 80))
    assert any("thinner than a pixel" in note for note in done.notes)


@pytest.mark.parametrize("degrees", [0, 13, 30, 45, 67, 90])
def test_a_thin_polygon_stays_in_one_piece_in_every_direction(tmp_path, pictures, degrees):
    turn = np.radians(degrees)
    along, aside = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    bend = np.sin(np.linspace(0, 3, 20))[:, None] * aside * 3
    side = np.array([48.3, 38.7]) + np.linspace(-30, 30, 20)[:, None] * along + bend
    outline = np.vstack([side + 0.3 * aside, (side - 0.3 * aside)[::-1]])
    done = run(tmp_path, coco(tmp_path, annotation([outline.ravel().tolist()])), pictures)
    mask = mask_of(done)
    assert mask.sum() <= 1.5 * 64
    from scipy.ndimage import label

    assert label(mask, np.ones((3, 3)))[1] == 1
    assert np.hypot(*np.ptp(np.argwhere(mask), axis=0)) >= 57


REFUSED = {
    "box alone": (lambda t: coco(t, annotation([], 7, bbox=[5, 5, 9, 9])), "annotation 7.*box"),
    "no outline": (lambda t: coco(t, annotation(None, 7)), "annotation 7.*no outline"),
    "two points": (lambda t: coco(t, annotation([[5, 5, 9, 9]], 7)), "annotation 7.*line_px"),
    "outside": (
        lambda t: coco(t, annotation([[200, 5, 209, 5, 209, 9]], 7)),
        "annotation 7.*no pix",
    ),
    "bow tie": (
        lambda t: coco(t, annotation([[10, 10, 60, 60, 60, 10, 10, 60]], 7)),
        "annotation 7 .*crosses itself like a bow tie: .* 600 px the other way",
    ),
    "one place": (
        lambda t: cvat(t, '<polygon label="crack" points="5,7;5,7;5,7"/>'),
        "polygon 1 .*gives no pixel: all of its points lie at one place, x = 5, y = 7",
    ),
    "beside the picture": (
        lambda t: labelme(t, shape([[-9, 5], [-2, 5], [-2, 9]])),
        "shape 1 .*gives no pixel inside the picture of 80 x 100 px: it runs from x = -9 to -2",
    ),
    "flat box": (
        lambda t: cvat(t, '<box label="crack" xtl="5" ytl="7" xbr="25" ybr="7"/>'),
        "box 1 .*gives no pixel: it is a box 20 px wide and 0 px high",
    ),
    "odd numbers": (lambda t: coco(t, annotation([[5, 5, 9, 9, 1]], 7)), "annotation 7.*pairs"),
    "nan": (
        lambda t: coco(t, annotation([[5, 5, float("nan"), 9, 1, 1]], 7)),
        "annotation 7.*finite",
    ),
    "flat ring": (lambda t: coco(t, annotation(SQUARE, 7)), "annotation 7.*list of rings"),
    "hole": (lambda t: coco(t, annotation([SQUARE, HOLE], 7)), "annotation 7.*hole"),
    "hole first": (lambda t: coco(t, annotation([HOLE, SQUARE], 7)), "annotation 7.*hole"),
    "empty runs": (
        lambda t: coco(t, annotation({"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}, 7)),
        "annotation 7.*no pixel",
    ),
    "unknown picture": (
        lambda t: coco(t, annotation([SQUARE], 7, image=9)),
        "annotation 7.*image_id",
    ),
    "other names": (lambda t: coco(t, names=("b.png",)), "b.png"),
    "cut away": (
        lambda t: cvat(
            t,
            f'<polygon label="crack" points="{ring(HOLE)}"/>'
            f'<polygon label="background" points="{ring(SQUARE)}"/>',
        ),
        "cut away",
    ),
    "tag alone": (
        lambda t: cvat(t, '<tag label="crack"/>', meta="<meta/>"),
        "labels",
    ),
    "bad number": (
        lambda t: cvat(t, '<polygon label="crack" points="5,5;9,x;9,9"/>'),
        "`a.png`: polygon 1: .*'x'",
    ),
    "skeleton": (lambda t: cvat(t, '<skeleton label="crack"/>'), "skeleton 1.*cannot be filled"),
    "video": (
        lambda t: (t / "v.xml", (t / "v.xml").write_text("<annotations><track/></annotations>"))[0],
        "video",
    ),
    "mask that leaves": (
        lambda t: cvat(t, '<mask label="crack" rle="0,9" left="98" top="0" width="3" height="3"/>'),
        "mask 1.*leaves",
    ),
    "point": (lambda t: labelme(t, shape([[5, 5]], "point")), "shape 1.*point"),
    "box without a place": (
        lambda t: cvat(t, '<box label="crack" xtl="nan" ytl="1" xbr="9" ybr="9"/>'),
        "box 1: `xtl` must be a number.*nan",
    ),
    "turned by nothing": (
        lambda t: cvat(t, '<box label="crack" xtl="1" ytl="1" xbr="9" ybr="9" rotation="nan"/>'),
        "box 1: .*nan",
    ),
    "endless ellipse": (
        lambda t: cvat(t, '<ellipse label="crack" cx="9" cy="9" rx="inf" ry="3"/>'),
        "ellipse 1: .*inf",
    ),
    "far point": (
        lambda t: coco(t, annotation([[5, 5, 1e308, 9, 9, 9]], 7)),
        r"annotation 7: .*1e\+308",
    ),
    "runs of shares": (
        lambda t: coco(t, annotation({"size": [HEIGHT, WIDTH], "counts": [0.5, 7999.5]}, 7)),
        "annotation 7.*whole numbers",
    ),
    "runs of text": (
        lambda t: coco(t, annotation({"size": [HEIGHT, WIDTH], "counts": ["0", "8000"]}, 7)),
        "annotation 7.*whole numbers",
    ),
    "no runs": (
        lambda t: coco(t, annotation({"size": [HEIGHT, WIDTH], "counts": None}, 7)),
        "annotation 7.*whole numbers",
    ),
    "nested without end": (
        lambda t: (t / "n.json", (t / "n.json").write_text("[" * 100_000))[0],
        "not readable JSON",
    ),
    "no label": (lambda t: labelme(t, shape([[5, 5], [9, 9], [5, 9]], label=None)), "no label"),
    "wide line": (
        lambda t: labelme(t, shape([[5, 5], [9, 9]], "line", description="width_px=1e9")),
        "shape 1 .*1e\\+09 px wide in a picture of 80 x 100 px",
    ),
    "new kind": (lambda t: labelme(t, shape([[5, 5]], "spline")), "shape 1.*spline"),
    "label studio": (
        lambda t: (t / "l.json", (t / "l.json").write_text("[]"))[0],
        "Export it as COCO",
    ),
    "folder": (lambda t: (t / "d.json", (t / "d.json").mkdir())[0], "is a folder"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_sure_crack_is_refused_and_leaves_nothing(tmp_path, pictures, name):
    make, words = REFUSED[name]
    source = make(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(DataError, match=words):
        run(tmp_path, source, pictures)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_outline_that_runs_over_itself_holds_all_that_it_goes_round(tmp_path, pictures):
    star = [50, 5, 70, 75, 10, 30, 90, 30, 30, 75]  # its middle is gone round twice
    assert mask_of(run(tmp_path, coco(tmp_path, annotation([star])), pictures))[40, 50]


def test_sides_of_a_hair_crack_may_cross(tmp_path, pictures):
    outline = [10, 20, 50, 21.5, 90, 19, 90, 21, 50, 19, 10, 21.2]  # by a hand that is not steady
    done = run(tmp_path, coco(tmp_path, annotation([outline])), pictures)
    assert set(np.nonzero(mask_of(done))[1].tolist()) >= set(range(11, 89))


def test_parts_that_a_program_joined_by_a_line_are_no_bow_tie(tmp_path, pictures):
    # as converters to YOLO do: the second square the other way round, a line there and back
    joined = [10, 10, 30, 10, 30, 30, 50, 30, 50, 50, 70, 50, 70, 30, 50, 30, 30, 30, 10, 30]
    assert mask_of(run(tmp_path, coco(tmp_path, annotation([joined])), pictures)).sum() == 800


def test_a_bow_tie_that_is_no_crack_is_in_nobodys_way(tmp_path, pictures):
    other = labelme(
        tmp_path,
        shape([[10, 10], [20, 10], [20, 20]]),
        shape([[10, 10], [60, 60], [60, 10], [10, 60]], label="stain"),
        shape([[200, 10], [260, 10], [260, 60]], label="stain"),
    )
    assert mask_of(run(tmp_path, other, pictures, labels=("crack",))).sum() == 55


def test_two_points_are_a_line_where_a_width_is_given(tmp_path, pictures):
    done = run(tmp_path, coco(tmp_path, annotation([[5, 20.5, 90, 20.5]])), pictures, line_px=3)
    assert np.unique(np.nonzero(mask_of(done))[0]).tolist() == [19, 20, 21]


def test_a_line_has_its_own_width(tmp_path, pictures):
    inner = (
        '<polyline label="crack" points="5,20.5;90,20.5"><attribute name="width_px">5</attribute>'
        '</polyline><polyline label="crack" points="5,60.5;90,60.5"/>'
    )
    done = run(tmp_path, cvat(tmp_path, inner), pictures, line_px=1)
    assert np.unique(np.nonzero(mask_of(done))[0]).tolist() == [18, 19, 20, 21, 22, 60]


def test_holes_are_cut(tmp_path, pictures):
    polygons = (
        f'<polygon label="{{}}" points="{ring(HOLE)}" z_order="1"/>'
        f'<polygon label="crack" points="{ring(SQUARE)}" z_order="0"/>'
    )
    for number, (label, options, area) in enumerate(
        [
            ("background", {}, 4800 - 800),
            ("spall", {"labels": ("crack",), "cutting": ("spall",)}, 4800 - 800),
            ("spall", {"labels": ("crack",)}, 4800),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = run(folder, cvat(folder, polygons.format(label)), pictures, **options)
        assert mask_of(done).sum() == area
        assert any("on top of crack in 800 px" in note for note in done.notes) == (area == 4800)
    below = labelme(
        tmp_path,
        shape(np.reshape(HOLE, (-1, 2)).tolist(), label="background"),
        shape(np.reshape(SQUARE, (-1, 2)).tolist()),
    )
    assert mask_of(run(tmp_path, below, pictures)).sum() == 4800  # what lies below cuts nothing
    (tmp_path / "c").mkdir()
    source = coco(tmp_path / "c", annotation([SQUARE, HOLE]))
    assert mask_of(run(tmp_path / "c", source, pictures, holes=True)).sum() == 4800 - 800


def test_two_rings_apart_are_both_filled(tmp_path, pictures):
    done = run(
        tmp_path, coco(tmp_path, annotation([[5, 5, 15, 5, 15, 9, 5, 9], HOLE, HOLE])), pictures
    )
    assert mask_of(done).sum() == 40 + 800
    assert done.shapes == 1


def test_boxes_and_ellipses_are_turned(tmp_path, pictures):
    box = '<box label="crack" xtl="30" ytl="38" xbr="70" ybr="42" rotation="90"/>'
    done = run(tmp_path, cvat(tmp_path, box), pictures)
    rows, cols = np.nonzero(mask_of(done))
    assert (np.ptp(rows) + 1, np.ptp(cols) + 1) == (40, 4)
    assert any("boxes" in note for note in done.notes)
    slanted = box.replace("90", "30").replace("</", "</")
    (tmp_path / "s").mkdir()
    rows, cols = np.nonzero(mask_of(run(tmp_path / "s", cvat(tmp_path / "s", slanted), pictures)))
    assert np.polyfit(cols, rows, 1)[0] == pytest.approx(np.tan(np.radians(30)), abs=0.05)
    (tmp_path / "e").mkdir()
    ellipse = '<ellipse label="crack" cx="50" cy="40" rx="20" ry="10" rotation="90"/>'
    mask = mask_of(run(tmp_path / "e", cvat(tmp_path / "e", ellipse), pictures))
    assert mask.sum() == pytest.approx(np.pi * 200, rel=0.01)
    assert np.ptp(np.nonzero(mask)[0]) > np.ptp(np.nonzero(mask)[1])


def test_labelme_circles_and_masks(tmp_path, pictures):
    pixels = np.zeros((11, 21), bool)
    pixels[4:7] = True
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    source = labelme(
        tmp_path,
        shape([[10, 20], [30, 30]], "mask", mask=text),
        shape([[70, 50], [70, 60]], "circle"),
    )
    mask = mask_of(run(tmp_path, source, pictures))
    assert np.array_equal(mask[20:31, 10:31], pixels)
    assert mask[35:].sum() == pytest.approx(np.pi * 100, rel=0.02)


def test_a_tag_that_is_no_crack_is_passed_over(tmp_path, pictures):
    inner = (
        f'<tag label="blurred"/><polygon label="crack" points="{ring(HOLE)}"/><points label="tip"/>'
    )
    done = run(tmp_path, cvat(tmp_path, inner), pictures, labels=("crack",))
    assert mask_of(done).sum() == 800
    (tmp_path / "t").mkdir()
    tagged = cvat(
        tmp_path / "t", '<tag label="crack"/><polygon label="joint" points="1,1;9,1;9,9"/>'
    )
    with pytest.raises(DataError, match="tagged `crack`"):
        run(tmp_path / "t", tagged, pictures, labels=("crack",))


@pytest.mark.parametrize("width", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_width_that_is_none_is_refused(tmp_path, pictures, width):
    source = coco(tmp_path, annotation([[5, 5, 9, 9]]))
    with pytest.raises(DataError, match="`line_px` must be a positive number"):
        run(tmp_path, source, pictures, line_px=width)


def test_a_label_with_two_meanings_is_refused(tmp_path, pictures):
    source = coco(tmp_path, annotation([HOLE]))
    with pytest.raises(DataError, match="`crack` was given two"):
        run(tmp_path, source, pictures, labels=("crack",), cutting=("crack",))


def test_a_label_that_may_be_something_else_is_asked_for(tmp_path, pictures):
    source = coco(tmp_path, annotation([HOLE], category=2), categories=("crack", "stain"))
    with pytest.raises(DataError, match="crack, stain"):
        run(tmp_path, source, pictures)
    done = run(tmp_path, source, pictures, labels=("crack",))
    assert (done.empty, done.shapes, mask_of(done).any()) == (1, 0, False)


@pytest.mark.parametrize("name", ["sub\\a.png", "C:\\flights\\a.png", "../x/a.png", "/data/a.png"])
def test_names_from_other_machines_are_found(tmp_path, pictures, name):
    files = [coco(tmp_path, annotation([HOLE]), names=(name,), encoding="utf-8-sig")]
    files.append(cvat(tmp_path, f'<polygon label="crack" points="{ring(HOLE)}"/>', name))
    files.append(labelme(tmp_path, shape(np.reshape(HOLE, (-1, 2)).tolist()), imagePath=name))
    for number, file in enumerate(files):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert mask_of(run(folder, file, pictures)).sum() == 800


def test_pictures_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for number, folder in enumerate(("x", "y")):
        save_picture(tmp_path / "pics" / folder / "a.png", 90 * (number + 1))
    names = ("x/a.png", "y\\a.png")
    one, two = annotation([HOLE], 1, 1), annotation([SQUARE], 2, 2)
    source = coco(tmp_path, one, two, names=names)
    done = run(tmp_path, source, tmp_path / "pics")
    assert [s.image.name for s in done.samples] == ["x_a.png", "y_a.png"]
    for number, (tone, area) in enumerate(((90, 800), (180, 4800))):
        picture, mask = read_pair(done.samples[number])
        assert (picture[0, 0, 0], mask.sum()) == (tone, area)
    save_picture(tmp_path / "flat" / "a.png")
    (tmp_path / "f").mkdir()
    with pytest.raises(DataError, match=r"image 2 .*is also the photograph of .*image 1 "):
        run(tmp_path / "f", source, tmp_path / "flat")
    with pytest.raises(DataError, match="not sure"):  # neither is said to lie in z
        run(tmp_path / "f", coco(tmp_path, names=("z/a.png",)), tmp_path / "pics")
    save_picture(tmp_path / "pics" / "a.png")
    with pytest.raises(DataError, match="not sure"):  # dropping the folder gives one of three
        run(tmp_path / "f", coco(tmp_path, names=("z/a.png",)), tmp_path / "pics")
    (tmp_path / "g").mkdir()
    run(tmp_path / "g", coco(tmp_path, names=("pics/a.png",)), tmp_path / "pics")
    (tmp_path / "pics" / "a.png").unlink()
    with pytest.raises(DataError, match="not sure"):  # both may be
        run(tmp_path / "f", coco(tmp_path, names=("a.png",)), tmp_path / "pics")


def test_a_second_import_adds_and_never_writes_over(tmp_path, pictures):
    save_picture(pictures / "b.png", 60)
    first = run(tmp_path, coco(tmp_path, annotation([HOLE])), pictures)
    before = {s.mask: s.mask.read_bytes() for s in first.samples}
    run(tmp_path, coco(tmp_path, annotation([HOLE])), pictures)  # the same again does no harm
    run(tmp_path, coco(tmp_path, annotation([SQUARE]), names=("b.png",)), pictures)
    assert sorted(p.name for p in (tmp_path / "set" / "masks").iterdir()) == ["a.png", "b.png"]
    other = coco(tmp_path, annotation([SQUARE]), names=("a.png", "b.png"))
    with pytest.raises(DataError, match=r"masks/a\.png.*already"):
        run(tmp_path, other, pictures)
    assert all(file.read_bytes() == data for file, data in before.items())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.doc").write_text("years of work")
    with pytest.raises(DataError, match="holds other files"):
        import_annotations(
            other, pictures, tmp_path / "mine", format="coco", options=ImportOptions()
        )
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.doc"]


def test_pictures_that_are_mostly_crack_are_noted_whatever_the_tool(tmp_path, pictures):
    (tmp_path / "masks").mkdir()
    dark = np.full((HEIGHT, WIDTH), 255, np.uint8)
    dark[40:43] = 0
    Image.fromarray(dark).save(tmp_path / "masks" / "a.png")
    rule = MaskRule(values=("255",))
    for source, kind in (
        (tmp_path / "masks", "masks"),
        (coco(tmp_path, annotation([BIG])), "coco"),
    ):
        options = ImportOptions(rule=rule) if kind == "masks" else ImportOptions()
        done = import_annotations(
            source, pictures, tmp_path / "out" / kind, format=kind, options=options
        )
        assert any("more than half of 1 of 1 pictures is crack" in note for note in done.notes)


def test_masks_are_found_by_folder_and_by_ending(tmp_path):
    for name in ("x/a.jpg", "y/a.jpg", "c.png"):
        save_picture(tmp_path / "pics" / name)
    for name, area in (("x/a.png", 3), ("y/a.png", 5), ("c_mask.png", 7)):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[10, :area] = 255
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / name)
    done = import_annotations(
        tmp_path / "masks",
        tmp_path / "pics",
        tmp_path / "s",
        format="masks",
        options=ImportOptions(),
    )
    areas = {s.image.name: int(read_pair(s)[1].sum()) for s in done.samples}
    assert areas == {"c.png": 7, "x_a.jpg": 3, "y_a.jpg": 5}
    Image.fromarray(mask).save(tmp_path / "masks" / "d.bmp")
    with pytest.raises(DataError, match=r"d\.bmp.*PNG"):
        import_annotations(
            tmp_path / "masks",
            tmp_path / "pics",
            tmp_path / "t",
            format="masks",
            options=ImportOptions(),
        )


def test_size_is_that_of_the_picture_where_the_file_has_none(tmp_path, pictures):
    source = labelme(tmp_path, shape(np.reshape(HOLE, (-1, 2)).tolist()), imageHeight=None)
    assert mask_of(run(tmp_path, source, pictures)).shape == (HEIGHT, WIDTH)


def test_a_picture_that_is_mostly_crack_can_be_imported_and_read_again(tmp_path, pictures):
    done = run(tmp_path, coco(tmp_path, annotation([SQUARE])), pictures)
    assert mask_of(done).mean() == 0.6
    (tmp_path / "m.png").write_bytes(encode_mask(~np.zeros((5, 7), bool)))
    assert read_mask(tmp_path / "m.png").pixels.all()
    Image.fromarray(np.full((5, 7), 255, np.uint8)).save(tmp_path / "n.png")
    with pytest.raises(DataError, match="100"):
        read_mask(tmp_path / "n.png")


def test_the_command_counts(tmp_path, pictures):
    save_picture(pictures / "b.png", 60)
    source = coco(
        tmp_path, annotation([HOLE]), annotation([[5, 5, 9, 5, 9, 9]], 2), names=("a.png", "b.png")
    )
    arguments = ["data", "import", str(source), "--format", "coco", "--images", str(pictures)]
    answer = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "s")])
    assert answer.exit_code == 0, answer.output
    assert "2 pictures, 1 without crack, 2 shapes (crack)" in answer.output


def test_pictures_of_one_id_are_refused(tmp_path, pictures):
    source = coco(tmp_path, annotation([HOLE]), names=("a.png", "b.png"))
    source.write_text(source.read_text().replace('"id": 2', '"id": 1'))
    with pytest.raises(DataError, match="`images` holds the id 1 2 times"):
        run(tmp_path, source, pictures)


def test_places_in_shares_where_pixels_are_meant_are_refused(tmp_path, pictures):
    shares = [0.1, 0.3, 0.9, 0.3, 0.9, 0.4, 0.1, 0.4]
    inner = f'<polyline label="crack" points="{ring(shares)}"/>'
    for source in (coco(tmp_path, annotation([shares])), cvat(tmp_path, inner)):
        with pytest.raises(DataError, match="lie in the first pixel, as shares"):
            run(tmp_path, source, pictures, line_px=3)
    assert not (tmp_path / "set").exists()
    corner = coco(tmp_path, annotation([[0, 0, 2, 0, 2, 1, 0, 1]]))  # two pixels are a place
    assert mask_of(run(tmp_path, corner, pictures)).sum() == 2


def test_labels_that_nobody_named_are_told(tmp_path, pictures):
    polygons = "".join(
        f'<polygon label="{label}" points="{ring(HOLE)}"/>'
        for label in ("Background", "crack", "Crack", "rust", "rust")
    )
    done = run(tmp_path, cvat(tmp_path, polygons), pictures, labels=("crack",))
    (note,) = [note for note in done.notes if "does not name" in note]
    assert note.endswith("count as background: Crack (1), rust (2).")
    both = run(tmp_path, cvat(tmp_path, polygons), pictures, labels=("crack", "Crack", "rust"))
    assert not [note for note in both.notes if "does not name" in note]


@pytest.mark.parametrize("tool", ["labelme", "masks", "yolo"])
def test_what_macos_leaves_beside_files_is_passed_over(tmp_path, pictures, tool):
    notes = tmp_path / "notes"
    if tool == "labelme":
        labelme(tmp_path, shape([[10, 10], [90, 10], [90, 70], [10, 70]]))
    elif tool == "masks":
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[10, :50] = 255
        save_picture(notes / "a.png")
        Image.fromarray(mask).save(notes / "a.png")
    else:
        notes.mkdir()
        (notes / "a.txt").write_text("0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9")
        (notes / "data.yaml").write_text("names: [crack]")
    for folder in (notes, pictures):
        for file in list(folder.iterdir()):
            for beside in (folder, folder / "__MACOSX"):
                beside.mkdir(exist_ok=True)
                for dropping in (file.name, "b.bmp"):
                    (beside / f"._{dropping}").write_bytes(b"\0\5\x16\7\xb0\xff")
        (folder / "__MACOSX" / "a.png").write_bytes(b"\0\5\x16\7\xb0\xff")
    how = ImportOptions(labels=() if tool == "masks" else ("crack",))
    done = import_annotations(notes, pictures, tmp_path / "set", format=tool, options=how)
    assert [sample.image.name for sample in done.samples] == ["a.png"]
    assert mask_of(done).any()
    assert not any("not imported" in note for note in done.notes)
