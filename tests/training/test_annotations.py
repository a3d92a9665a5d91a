"""Annotations of every format give the masks that their shapes enclose; tiles stay in pairs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from crackseg.commands import app
from crackseg.errors import ConfigError, DataError, UnknownName
from crackseg.imagery.masks import MaskRule
from crackseg.training.annotation_readers import _labelme_shape, decode_rle
from crackseg.training.annotations import ImportOptions, import_annotations
from crackseg.training.manifest import index_folder, read_pair
from crackseg.training.readers import READERS
from crackseg.training.tiling import TileOptions, cut_tiles

HEIGHT, WIDTH = 30, 50
BOX = [[4, 6], [24, 6], [24, 9], [4, 9]]  # x, y: 20 x 3 px
TRIANGLE = [[10.0, 10.0], [40.0, 10.0], [10.0, 28.0]]


def box_mask():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[6:9, 4:24] = True
    return mask


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    grey = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    for name in ("p1.jpg", "p2.png"):
        Image.fromarray(grey).save(folder / name)
    return folder


def labelme(tmp_path, shapes, **more):
    folder = tmp_path / "labelme"
    folder.mkdir(exist_ok=True)
    content = {
        "imagePath": "..\\photos\\p1.jpg",
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        "shapes": shapes,
    }
    (folder / "p1.json").write_text(json.dumps(content | more))
    return folder


def polygon(points, label="crack", kind="polygon"):
    return {"label": label, "points": points, "shape_type": kind}


def cvat(tmp_path, inner):
    file = tmp_path / "cvat.xml"
    file.write_text(
        f'<annotations><image id="0" name="site/p1.jpg" width="{WIDTH}" height="{HEIGHT}">'
        f"{inner}</image></annotations>"
    )
    return file


def coco(tmp_path, *segmentations, **item):
    file = tmp_path / "coco.json"
    items = [
        {"id": k, "image_id": 7, "category_id": 1, "segmentation": s, **item}
        for k, s in enumerate(segmentations)
    ]
    image = {"file_name": "a/p1.jpg", "height": HEIGHT, "width": WIDTH}
    content = {
        "images": [{"id": 7, **image}, {"id": 8, **image, "file_name": "p2.png"}],
        "categories": [{"id": 1, "name": "crack"}, {"id": 2, "name": "stain"}],
        "annotations": items,
    }
    file.write_text(json.dumps(content))
    return file


def run_lengths(mask):
    """Return the runs of 0 and 1 down the columns, 0 first, by a plain loop."""
    runs, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def mask_folder(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    Image.fromarray(box_mask().astype(np.uint8) * 255).save(folder / "p1.png")
    return folder


RING = [float(value) for point in BOX for value in point]
CORNERS = ";".join(f"{x},{y}" for x, y in BOX)
ALONG_ROWS = ",".join(map(str, run_lengths(box_mask()[5:10, 3:25].T)))
COUNTS = {"size": [HEIGHT, WIDTH], "counts": run_lengths(box_mask())}
THE_BOX = {  # the same 20 x 3 px in every format
    "labelme polygon": lambda tmp: labelme(tmp, [polygon(BOX)]),
    "labelme rectangle": lambda tmp: labelme(tmp, [polygon(BOX[::2], kind="rectangle")]),
    "cvat polygon": lambda tmp: cvat(tmp, f'<polygon label="crack" points="{CORNERS}"/>'),
    "cvat box": lambda tmp: cvat(tmp, '<box label="c" xtl="4" ytl="6" xbr="24" ybr="9"/>'),
    "cvat mask": lambda tmp: cvat(
        tmp, f'<mask label="c" rle="{ALONG_ROWS}" left="3" top="5" width="22" height="5"/>'
    ),
    "coco polygon": lambda tmp: coco(tmp, [RING]),
    "coco runs": lambda tmp: coco(tmp, COUNTS),
    "masks folder": mask_folder,
}


@pytest.mark.parametrize("name", THE_BOX)
def test_a_box_is_the_same_mask_in_every_format(tmp_path, pictures, name):
    source, kind = THE_BOX[name](tmp_path), name.split()[0]
    samples = import_annotations(
        source, pictures, tmp_path / "set", format=kind, options=ImportOptions()
    ).samples
    first = next(s for s in samples if s.image.stem == "p1")
    assert np.array_equal(read_pair(first)[1], box_mask())
    assert first.image.read_bytes() == (pictures / "p1.jpg").read_bytes()
    assert len(index_folder(tmp_path / "set")) == len(samples)
    if kind == "coco":  # a picture without annotations is crack-free
        assert not read_pair(samples[1])[1].any()


def imported(source, pictures, out, kind, **options):
    done = import_annotations(source, pictures, out, format=kind, options=ImportOptions(**options))
    return read_pair(done.samples[0])[1]


def test_polygons_keep_their_area(tmp_path, pictures):
    mask = imported(labelme(tmp_path, [polygon(TRIANGLE)]), pictures, tmp_path / "s", "labelme")
    assert mask.sum() == pytest.approx(30 * 18 / 2, rel=0.02)
    rows, cols = np.nonzero(mask)
    assert rows.mean() + 0.5 == pytest.approx(16, abs=0.1)  # the centroid, from the pixel corner
    assert cols.mean() + 0.5 == pytest.approx(20, abs=0.1)


def test_lines_need_a_width(tmp_path, pictures):
    source = labelme(tmp_path, [polygon([[5, 10.5], [45, 10.5]], kind="linestrip")])
    with pytest.raises(DataError, match="line_px"):
        imported(source, pictures, tmp_path / "s", "labelme")
    mask = imported(source, pictures, tmp_path / "s", "labelme", line_px=3)
    assert mask[:, 20].nonzero()[0].tolist() == [9, 10, 11]
    source = cvat(tmp_path, '<polyline label="c" points="5,10.5;45,10.5"/>')
    again = imported(source, pictures, tmp_path / "t", "cvat", line_px=3)
    assert np.array_equal(again, mask)


def test_several_labels_are_not_guessed(tmp_path, pictures):
    source = labelme(tmp_path, [polygon(BOX), polygon(TRIANGLE, label="stain")])
    with pytest.raises(DataError, match="crack, stain"):
        imported(source, pictures, tmp_path / "s", "labelme")
    with pytest.raises(DataError, match="got Crack"):
        imported(source, pictures, tmp_path / "s", "labelme", labels=("Crack",))
    mask = imported(source, pictures, tmp_path / "s", "labelme", labels=("crack",))
    assert np.array_equal(mask, box_mask())


def test_grey_values_of_mask_pictures_are_chosen(tmp_path, pictures):
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[6:9, 4:10], values[6:9, 10:24], values[20:] = 2, 4, 3
    (tmp_path / "m").mkdir()
    Image.fromarray(values).save(tmp_path / "m" / "p1.png")
    mask = imported(
        tmp_path / "m", pictures, tmp_path / "s", "masks", rule=MaskRule(values=("2", "4"))
    )
    assert np.array_equal(mask, box_mask())


def test_masks_of_different_classes_are_not_mixed(tmp_path, pictures):
    (tmp_path / "m").mkdir()
    for name, value in (("p1.png", 1), ("p2.png", 2)):
        Image.fromarray(box_mask().astype(np.uint8) * value).save(tmp_path / "m" / name)
    with pytest.raises(DataError, match=r"1 in `p1\.png` and 2 in `p2\.png`.*--values 1,2"):
        imported(tmp_path / "m", pictures, tmp_path / "s", "masks")
    rule = MaskRule(values=("1", "2"))
    assert imported(tmp_path / "m", pictures, tmp_path / "s", "masks", rule=rule).any()


def test_compressed_run_lengths_of_the_coco_library():
    mask = np.zeros((9, 13), bool)
    mask[2:5, 3:11], mask[6, 0], mask[8, 12] = True, True, True
    assert np.array_equal(decode_rle("61f02@0000000000000?N", 9, 13), mask)
    library = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(1, 90, 2)
        mask = rng.random((height, width)) < rng.random()
        code = library.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert np.array_equal(decode_rle(code, height, width), mask)


@pytest.mark.parametrize(
    ("kind", "make", "word"),
    [
        ("labelme", lambda tmp: labelme(tmp, [polygon([[5, 5]], kind="point")]), "`point`"),
        ("labelme", lambda tmp: labelme(tmp, [{"label": "crack"}]), "points"),
        ("labelme", lambda tmp: labelme(tmp, [polygon(BOX)], imageHeight=31), "31 x 50"),
        ("labelme", lambda tmp: labelme(tmp, [polygon(BOX)], imagePath="q.jpg"), r"q\.jpg"),
        ("labelme", lambda tmp: tmp, "no annotated picture"),
        ("cvat", lambda tmp: cvat(tmp, '<points label="c" points="1,1"/>'), "points"),
        ("cvat", lambda tmp: cvat(tmp, '<polygon label="c"/>'), "points"),
        ("cvat", lambda tmp: cvat(tmp, "<polygon"), "XML"),
        ("coco", lambda tmp: coco(tmp, {"size": [2, 2], "counts": [4]}), "must be"),
        ("coco", lambda tmp: coco(tmp, {**COUNTS, "counts": [7]}), "add up"),
        ("coco", lambda tmp: coco(tmp, [RING], category_id=9), "9"),
        ("coco", lambda tmp: labelme(tmp, []) / "p1.json", "categories"),
        ("coco", lambda tmp: tmp / "none.json", "readable JSON"),
    ],
)
def test_broken_annotations_are_named(tmp_path, pictures, kind, make, word):
    with pytest.raises(DataError, match=word):
        imported(make(tmp_path), pictures, tmp_path / "s", kind)


def test_unknown_formats_are_named(tmp_path, pictures):
    with pytest.raises(UnknownName, match="labelme"):
        imported(tmp_path, pictures, tmp_path / "s", "label-me")
    known = {"labelme", "cvat", "coco", "masks", "labelstudio", "via", "yolo"}
    assert set(READERS) == known


def test_the_import_command(tmp_path, pictures):
    answer = CliRunner().invoke(
        app,
        [
            *("data", "import", str(labelme(tmp_path, [polygon(BOX)])), "--format", "labelme"),
            *("--images", str(pictures), "--out", str(tmp_path / "set"), "--labels", "crack"),
        ],
    )
    assert answer.exit_code == 0, answer.output
    assert "1 picture, 0 without crack, 1 shape (crack) written" in answer.output
    checked = CliRunner().invoke(app, ["data", "check", str(tmp_path / "set")])
    assert checked.exit_code == 0, checked.output


@pytest.fixture
def photographs(tmp_path):
    """A set of two photographs, the second smaller than a tile in one direction."""
    rng = np.random.default_rng(1)
    for split, stem, shape in (("train", "a", (100, 150)), ("val", "b", (40, 130))):
        for kind in ("images", "masks"):
            (tmp_path / "big" / kind).mkdir(parents=True, exist_ok=True)
        picture = rng.integers(0, 255, (*shape, 3), np.uint8)
        mask = np.zeros(shape, np.uint8)
        mask[10:13, 5:140] = 255
        Image.fromarray(picture).save(tmp_path / "big" / "images" / f"{stem}.png")
        Image.fromarray(mask).save(tmp_path / "big" / "masks" / f"{stem}.png")
        (tmp_path / "big" / f"{split}.txt").write_text(f"{stem}\n")
    return index_folder(tmp_path / "big")


def test_tiles_cover_the_photograph_and_stay_in_pairs(photographs, tmp_path):
    counts = cut_tiles(photographs, tmp_path / "tiles", TileOptions(tile_px=64, overlap_px=8))
    tiles = index_folder(tmp_path / "tiles")
    assert counts == {"train": 2 * 3, "val": 3}
    assert len(tiles) == 2 * 3 + 3
    assert {(t.split, t.site) for t in tiles} == {("train", "a"), ("val", "b")}
    for sample in photographs:
        picture, mask = read_pair(sample)
        coverage = np.zeros(mask.shape, int)
        for tile in (t for t in tiles if t.site == sample.image.stem):
            row, col = (int(part[1:]) for part in tile.image.stem.rsplit("_", 2)[1:])
            part, part_mask = read_pair(tile)
            where = slice(row, row + part.shape[0]), slice(col, col + part.shape[1])
            assert np.array_equal(picture[where], part)
            assert np.array_equal(mask[where], part_mask)
            coverage[where] += 1
        assert coverage.min() == 1


def test_tiles_without_a_crack_can_be_thinned_out(photographs, tmp_path):
    for number, (share, count) in enumerate({0.0: 0, 0.34: 1, 1.0: 3}.items()):
        options = TileOptions(tile_px=64, empty_share=share)
        cut_tiles(photographs[:1], tmp_path / f"t{number}", options)
        tiles = index_folder(tmp_path / f"t{number}")
        empty = [t for t in tiles if not read_pair(t)[1].any()]
        assert (len(tiles) - len(empty), len(empty)) == (3, count)


def test_tiling_refuses_what_would_mix_photographs(photographs, tmp_path):
    with pytest.raises(ConfigError, match="share a stem"):
        cut_tiles([*photographs, photographs[0]], tmp_path / "t")
    with pytest.raises(ConfigError, match="empty_share"):
        TileOptions(empty_share=2)


def test_the_tile_command(photographs, tmp_path):
    arguments = ["data", "tile", str(tmp_path / "big"), "--out", str(tmp_path / "t")]
    answer = CliRunner().invoke(app, [*arguments, "--tile-px", "64"])
    assert answer.exit_code == 0, answer.output
    assert len(index_folder(tmp_path / "t")) == 2 * 3 + 3


def test_a_turned_rectangle_of_labelme_is_what_it_encloses() -> None:
    corners = [[10.0, 0.0], [20.0, 10.0], [10.0, 20.0], [0.0, 10.0]]
    shape = _labelme_shape({"label": "crack", "shape_type": "rectangle", "points": corners}, "it")
    assert not shape.boxed
    assert shape.rings[0].tolist() == corners
