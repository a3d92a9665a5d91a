"""Manifests: pairs by stem, paths that travel, rows that are refused by name."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from crackseg.errors import DataError, ImageError
from crackseg.folders import sha256_of
from crackseg.records import Sample
from crackseg.training.check import check_data, fingerprints
from crackseg.training.manifest import (
    index_folder,
    read_manifest,
    read_pair,
    write_manifest,
)


def texture(seed, height=40, width=56):
    """A smooth random picture, different for every seed."""
    coarse = np.random.default_rng(seed).integers(40, 220, (height // 8 + 1, width // 8 + 1, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)[:height, :width]


def write_pair(folder, stem, seed, mask=None, **save):
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    picture = texture(seed)
    if mask is None:
        mask = np.zeros(picture.shape[:2], np.uint8)
        mask[20, 5:40] = 255
    Image.fromarray(picture).save(folder / "images" / f"{stem}.png", **save)
    Image.fromarray(mask).save(folder / "masks" / f"{stem}.png")


@pytest.fixture
def root(tmp_path):
    """Two sets: one with lists and sites, one with two bare folders."""
    for seed, stem in enumerate(["a", "b", "c", "d"]):
        write_pair(tmp_path / "data" / "wall", stem, seed)
    (tmp_path / "data" / "wall" / "train.txt").write_text("a\nc\n")
    (tmp_path / "data" / "wall" / "test.txt").write_text("b\n\n")
    (tmp_path / "data" / "wall" / "sites.csv").write_text("stem,site\na,north\nb,south\n")
    for seed, stem in enumerate(["x1", "x2", "x3", "x4"], start=10):
        write_pair(tmp_path / "data" / "plain", stem, seed)
    return tmp_path / "data"


def test_folders_become_samples(root):
    samples = index_folder(root, licences={"wall": "CC0"}, split="val")
    rows = [(s.source, s.image.stem, s.split, s.site, s.licence) for s in samples]
    assert rows == [
        ("plain", "x1", "val", "", "unstated"),
        ("plain", "x2", "val", "", "unstated"),
        ("plain", "x3", "val", "", "unstated"),
        ("plain", "x4", "val", "", "unstated"),
        ("wall", "a", "train", "north", "CC0"),
        ("wall", "b", "test", "south", "CC0"),
        ("wall", "c", "train", "", "CC0"),
    ]
    assert all(s.mask.stem == s.image.stem for s in samples)
    assert samples[0].image_sha256 == sha256_of(samples[0].image)
    assert [s.source for s in index_folder(root / "wall")] == ["wall"] * 3
    assert {s.source for s in index_folder(root, sets=["plain"])} == {"plain"}


def test_what_macos_leaves_beside_files_is_no_picture_and_no_set(root):
    known = index_folder(root)
    for folder in (root / "plain", root / "__MACOSX"):
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / part / "._x1.png").write_bytes(b"\0\5\x16\7\xb0\xff")
    assert index_folder(root) == known


def test_a_manifest_travels_with_its_root(root, tmp_path):
    samples = index_folder(root)
    write_manifest(samples, tmp_path / "lists" / "all.csv", root=root)
    text = (tmp_path / "lists" / "all.csv").read_text()
    assert str(tmp_path) not in text
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    again = read_manifest(tmp_path / "lists" / "all.csv", root=moved)
    assert [s.image for s in again] == [moved / s.image.relative_to(root) for s in samples]
    assert [s.split for s in again] == [s.split for s in samples]
    write_manifest(again, moved / "all.csv")
    beside = read_manifest(moved / "all.csv")  # relative to its own folder
    assert [s.mask_sha256 for s in beside] == [s.mask_sha256 for s in samples]


def test_hold_out_takes_the_end_of_train_by_whole_sites(root):
    held = index_folder(root, hold_out=0.3)
    assert [s.split for s in held if s.source == "plain"] == ["train", "train", "val", "val"]
    (root / "plain" / "sites.csv").write_text("stem,site\nx1,p\nx2,q\nx3,q\nx4,q\n")
    held = index_folder(root, hold_out=0.1)
    assert [s.split for s in held if s.source == "plain"] == ["train", "val", "val", "val"]
    (root / "wall" / "val.txt").write_text("d\n")
    held = index_folder(root, hold_out=0.9)
    assert [s.split for s in held if s.source == "wall"] == ["train", "test", "train", "val"]
    with pytest.raises(DataError, match=r"0\.15"):
        index_folder(root, hold_out=1.0)


def edit(file, row, column, value):
    """Change one field of a manifest; rows count from 2 as in the messages."""
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[row - 2][column] = value
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("image", "plain/images/nobody.png"),
        ("mask", "plain/masks/nobody.png"),
        ("image_sha256", "0" * 64),
        ("mask_sha256", "0" * 64),
        ("split", "exam"),
        ("source", ""),
    ],
)
def test_a_broken_row_is_named_with_file_row_and_column(root, column, value):
    file = root / "all.csv"
    write_manifest(index_folder(root), file)
    edit(file, 4, column, value)
    with pytest.raises(DataError, match=rf"all\.csv: row 4: .*`{column}`"):
        read_manifest(file)
    refused = []
    assert len(read_manifest(file, refuse=refused.append)) == 6
    assert len(refused) == 1
    if column.endswith("sha256"):
        assert len(read_manifest(file, check_hashes=False)) == 7


def test_manifests_that_cannot_be_read_are_refused(root, tmp_path):
    file = tmp_path / "m.csv"
    write_manifest([*index_folder(root), index_folder(root)[0]], file)
    with pytest.raises(DataError, match=r"row 9: column `image`.*already in row 2"):
        read_manifest(file)
    file.write_text("image,mask\na,b\n")
    with pytest.raises(DataError, match=r"must have the columns image, .* is missing, got image"):
        read_manifest(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")


def test_folders_that_make_no_sense_are_refused(root, tmp_path):
    with pytest.raises(DataError, match="wall"):
        index_folder(root, sets=["walls"])
    with pytest.raises(DataError, match="`images` and `masks`"):
        index_folder(tmp_path / "data" / "wall" / "images")
    with pytest.raises(DataError, match="none of this name"):
        index_folder(tmp_path / "nowhere")
    (root / "wall" / "val.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"`a` is also listed in train\.txt"):
        index_folder(root)
    (root / "wall" / "val.txt").write_text("ghost\n")
    with pytest.raises(DataError, match=r"images.*`ghost`"):
        index_folder(root)
    (root / "wall" / "val.txt").write_bytes(b"\xff\x81")
    with pytest.raises(DataError, match=r"val\.txt` cannot be read"):
        index_folder(root)
    (root / "wall" / "val.txt").unlink()
    (root / "wall" / "sites.csv").write_text("stem,site\nghost,north\n")
    with pytest.raises(DataError, match=r"sites\.csv: there is no picture with the stem `ghost`"):
        index_folder(root)
    (root / "wall" / "sites.csv").unlink()
    train = (root / "wall" / "train.txt").read_text()
    (root / "wall" / "train.txt").write_text(train, encoding="utf-16")  # Notepad's "Unicode"
    assert index_folder(root)
    Image.fromarray(texture(0)).save(root / "wall" / "images" / "a.jpg")
    with pytest.raises(DataError, match="share a stem"):
        index_folder(root)


def pair_of(folder, stem="p", **more):
    return Sample(
        image=folder / "images" / f"{stem}.png",
        mask=folder / "masks" / f"{stem}.png",
        source="s",
        split="train",
        **more,
    )


def test_masks_are_read_by_the_rule_of_all_masks(tmp_path):
    mask = np.zeros((40, 56), np.uint8)
    mask[3:6, 7:30] = 1
    write_pair(tmp_path, "p", 1, mask)
    assert np.array_equal(read_pair(pair_of(tmp_path))[1], mask > 0)
    mask[20:23, 7:30] = 2
    Image.fromarray(mask).save(tmp_path / "masks" / "p.png")
    with pytest.raises(DataError, match=r"p\.png.*several values.*0 and 255"):
        read_pair(pair_of(tmp_path))


def exif(orientation):
    tags = Image.Exif()
    tags[274] = orientation
    return tags


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_drawn_on_the_stored_picture_turns_with_it(tmp_path, orientation):
    mask = np.zeros((40, 56), np.uint8)
    mask[3:6, 7:30] = 255
    write_pair(tmp_path, "p", 1, mask, exif=exif(orientation))
    if orientation in (2, 3, 4):  # the same size either way
        with pytest.raises(DataError, match="EXIF"):
            read_pair(pair_of(tmp_path))
        return
    picture, turned = read_pair(pair_of(tmp_path))
    marked = texture(1)
    marked[mask > 0] = 0  # the same marks, drawn into the picture
    Image.fromarray(marked).save(tmp_path / "images" / "q.png", exif=exif(orientation))
    Image.fromarray(mask).save(tmp_path / "masks" / "q.png")
    drawn, _ = read_pair(pair_of(tmp_path, "q"))
    assert np.array_equal((drawn != picture).any(axis=2), turned)
    if orientation > 4:  # a mask of the upright picture is taken as it is
        Image.fromarray(turned).save(tmp_path / "masks" / "q.png")
        assert np.array_equal(read_pair(pair_of(tmp_path, "q"))[1], turned)


def test_empty_masks_fit_any_turn(tmp_path):
    write_pair(tmp_path, "p", 1, np.zeros((40, 56), np.uint8), exif=exif(3))
    assert not read_pair(pair_of(tmp_path))[1].any()


def test_pairs_of_different_size_are_refused(tmp_path):
    write_pair(tmp_path, "p", 1, np.zeros((40, 55), np.uint8))
    with pytest.raises(DataError, match=r"40 x 55 px.*40 x 56 px"):
        read_pair(pair_of(tmp_path))
    (tmp_path / "images" / "p.png").write_bytes(b"")
    with pytest.raises(ImageError, match="empty"):
        read_pair(pair_of(tmp_path))


def kinds(findings):
    return sorted((f.kind, f.where) for f in findings)


def test_sound_data_has_no_findings(root):
    samples, findings = check_data(root)
    assert findings == ()
    assert len(samples) == 7


def test_check_names_every_fault_in_a_folder(root):
    wall = root / "wall"
    (wall / "val.txt").write_text("d\nghost\n")  # a listed picture that is not there
    (wall / "sites.csv").write_text("stem,site\na,north\nb,south\nd,north\n")  # train and val
    Image.fromarray(texture(2)[:, ::-1]).save(wall / "images" / "b.png")  # c, mirrored, in test
    plain = root / "plain"
    (plain / "images" / "x1.png").write_bytes((plain / "images" / "x1.png").read_bytes()[:-40])
    Image.fromarray(np.full((40, 56), 255, np.uint8)).save(plain / "masks" / "x2.png")
    Image.fromarray(texture(3)[..., 0]).save(plain / "masks" / "x3.png")
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(plain / "masks" / "x4.png")
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(plain / "masks" / "x5.png")
    samples, findings = check_data(root)
    assert kinds(findings) == [
        ("near-duplicate", "wall/b"),
        ("pair", "plain/x2"),
        ("pair", "plain/x3"),
        ("pair", "plain/x4"),
        ("pair", "plain/x5"),
        ("row", str(root)),
        ("site", "wall/d"),
        ("unreadable", "plain/x1"),
    ]
    assert len(samples) == 4


def test_a_mask_without_a_picture_is_refused_and_what_may_be_meant_is_named(root):
    images = root / "plain" / "images"
    (images / "x2.png").rename(images / "x2.webp")
    with pytest.raises(DataError, match=r"stem `x2`, and `x2\.webp` is of a form .*JPEG"):
        index_folder(root)
    (images / "x2.webp").rename(images / "X2.png")
    with pytest.raises(DataError, match=r"`X2`, and `x2\.png` is written otherwise"):
        index_folder(root)
    (images / "X2.png").unlink()
    with pytest.raises(DataError, match=r"images: there is no picture with the stem `x2`\."):
        index_folder(root)


def test_check_looks_at_the_split_that_a_training_will_make(root):
    plain = root / "plain"
    for kind in ("images", "masks"):
        (plain / kind / "x9.png").write_bytes((plain / kind / "x1.png").read_bytes())
    (finding,) = check_data(plain)[1]
    assert (finding.kind, finding.where) == ("near-duplicate", "plain/x1")
    assert "sites.csv" in finding.message
    assert check_data(plain, hold_out=0.0)[1] == ()  # nothing is judged by
    (plain / "sites.csv").write_text("stem,site\nx1,p\nx9,p\n")
    assert check_data(plain)[1] == ()


def test_a_site_of_two_sets_stays_on_one_side(tmp_path):
    for seed, (flight, site) in enumerate([("a", "weir"), ("b", "dam"), ("c", "dam")]):
        write_pair(tmp_path / flight, "DJI_0001", seed)
        (tmp_path / flight / "sites.csv").write_text(f"stem,site\nDJI_0001,{site}\n")
    held = index_folder(tmp_path, hold_out=0.1)
    assert [(s.site, s.split) for s in held] == [
        ("weir", "val"),
        ("dam", "train"),
        ("dam", "train"),
    ]


def test_check_names_the_rows_of_a_manifest(root):
    file = root / "all.csv"
    samples = index_folder(root)
    write_manifest(samples, file)
    edit(file, 3, "image", "nobody.png")
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(samples[3].mask)
    edit(file, 5, "mask_sha256", "")
    _, findings = check_data(file)
    assert [(f.kind, f.where) for f in findings] == [
        ("row", str(file)),
        ("pair", "row 5 (x4.png)"),
    ]
    assert "row 3" in findings[0].message


def test_fingerprints_survive_copying_and_tell_pictures_apart():
    picture = texture(4, 200, 300)
    own = fingerprints(picture)
    bright = np.clip(picture[::-1].astype(float) * 1.1 + 9, 0, 255).astype(np.uint8)
    small = np.asarray(Image.fromarray(picture).resize((150, 100), Image.Resampling.BOX))
    for copy in (bright, np.rot90(picture), small):
        assert min((own[0] != view).sum() for view in fingerprints(copy)) < 30
    other = min((own[0] != view).sum() for view in fingerprints(texture(5, 200, 300)))
    assert other > 70
