"""Labels drawn wider than the crack by a known amount are told apart from exact ones."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation
from studies import load_study

from crackseg.errors import DataError
from crackseg.metrology.phantoms import Look, draw, straight
from crackseg.training.manifest import index_folder

study = load_study("label_bias")
WIDTH_PX = 6.0


def write(folder, stem, number, grow_px):
    """One straight crack 6 px wide whose label is grown by ``grow_px`` on both sides."""
    rng = np.random.default_rng(number)
    stroke = straight((60, 90), 20.0 * number, 90, WIDTH_PX)
    picture = draw((120, 180), [stroke], Look(blur_px=0.8, noise=0.02), rng)
    rows, cols = np.mgrid[-3:4, -3:4]
    disc = rows**2 + cols**2 <= grow_px**2
    mask = binary_dilation(picture.mask, disc)
    for kind, values in (("images", picture.picture), ("masks", mask.astype(np.uint8) * 255)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / kind / f"{stem}.png")


@pytest.fixture
def root(tmp_path):
    """Set `wall`: train labelled exactly, val 2 px too wide; set `clean` without a crack."""
    for number in range(3):
        write(tmp_path / "wall", f"exact{number}", number, 0)
    for number in range(2):
        write(tmp_path / "wall", f"fat-{number}", number, 1)
    (tmp_path / "wall" / "train.txt").write_text("exact0\nexact1\nexact2\n")
    (tmp_path / "wall" / "val.txt").write_text("fat-0\nfat-1\n")
    write(tmp_path / "clean", "none", 0, 0)
    blank = np.zeros((120, 180), np.uint8)
    Image.fromarray(blank).save(tmp_path / "clean" / "masks" / "none.png")
    return tmp_path


def test_a_list_labelled_too_wide_is_told_from_an_exact_one(root):
    rows = {(row.source, row.split): row for row in study.label_bias(index_folder(root))}
    exact, fat, none = rows["wall", "train"], rows["wall", "val"], rows["clean", "train"]
    assert exact.line_px == pytest.approx(WIDTH_PX, abs=0.3)
    assert fat.line_px == pytest.approx(WIDTH_PX, abs=0.3)  # the photograph's, whatever the label
    assert exact.bias_px == pytest.approx(0, abs=0.5)
    # a pixel more on each side; a slanted edge gains a little more than that
    assert fat.bias_px - exact.bias_px == pytest.approx(2, abs=0.5)
    assert exact.bias_px == pytest.approx(exact.label_px - exact.line_px)
    assert (exact.places, exact.cracks, fat.places, fat.cracks) == (3, 3, 1, 2)
    assert 0 <= exact.u_px < 0.5
    assert np.isnan(fat.u_px)  # two crops of one photograph tell nothing of the next one
    assert none.cracks == 0
    assert np.isnan(none.bias_px)


def test_the_standard_error_is_that_of_the_mean_over_places(root):
    of_each = []
    for stem in ("exact0", "exact1", "exact2"):
        samples = [s for s in index_folder(root) if s.image.stem == stem]
        (row,) = study.label_bias(samples)
        of_each.append(row.bias_px)
    row = next(
        r for r in study.label_bias(index_folder(root)) if (r.source, r.split) == ("wall", "train")
    )
    # lengths are alike, so the weighted mean is close to the plain one
    assert row.bias_px == pytest.approx(np.mean(of_each), abs=0.05)
    assert row.u_px == pytest.approx(np.std(of_each, ddof=1) / np.sqrt(3), rel=0.15)


def test_the_script_prints_a_line_per_list(root, capsys):
    study.main(root, None)
    head, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head[:3] == ["set", "split", "places"]
    assert [row[:4] for row in rows] == [
        ["clean", "train", "0", "0"],
        ["wall", "train", "3", "3"],
        ["wall", "val", "1", "2"],
    ]
    assert rows[0][4:] == ["no", "width", "could", "be", "read"]
    assert [float(row[6]) for row in rows[1:]] == pytest.approx([0, 2], abs=0.6)


def test_a_pair_that_is_none_is_refused(root):
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(root / "wall" / "masks" / "fat-0.png")
    with pytest.raises(DataError, match="fat-0"):
        study.label_bias(index_folder(root, hashes=False))
