"""From a folder of raw photographs with masks to the article's table, by the line of the page."""

from __future__ import annotations

import csv
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from command_line import exit_code
from PIL import Image
from typer.testing import CliRunner

from crackseg.commands import app
from crackseg.errors import ConfigError, DataError
from crackseg.training.manifest import index_folder, read_pair
from crackseg.training.tiling import TileOptions, cut_tiles, parse_split, share_out, tile_data

ROOT = Path(__file__).parents[2]
ARTICLE = ROOT / "data" / "runs" / "article.toml"
SHAPE = 150, 200
COUNT = 9


def crack(number: int) -> np.ndarray:
    """Return the (H, W) bool mask of a photograph: a slanting line, none in one of them."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask: np.ndarray = np.abs(rows - 20 - 12 * number - 0.1 * cols) < 2
    return mask & (number != 4)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """``photographs`` (JPEG) with ``masks`` (as LEAR's tool writes them) and ``labelme`` files."""
    rng = np.random.default_rng(3)
    for name in ("photographs", "masks", "labelme"):
        (tmp_path / name).mkdir()
    for number in range(COUNT):
        mask, stem = crack(number), f"DJI_{number:04}"
        grey = rng.normal(170, 7, (*SHAPE, 3)) - 110 * mask[..., None]
        pixels = np.clip(grey, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photographs" / f"{stem}.JPG", quality=95)
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "masks" / f"{stem}.png")
        row = 20 + 12 * number
        ends = [[0, row], [SHAPE[1], row + 0.1 * SHAPE[1]]]
        shape = {"label": "crack", "shape_type": "line", "points": ends, "description": ""}
        head = {"imagePath": f"{stem}.JPG", "imageHeight": SHAPE[0], "imageWidth": SHAPE[1]}
        shapes = [shape] if mask.any() else []
        text = json.dumps(head | {"shapes": shapes})
        (tmp_path / "labelme" / f"{stem}.json").write_text(text)
    return tmp_path


def run(*words: object) -> str:
    answer = CliRunner().invoke(app, [str(word) for word in words])
    if answer.exception and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    assert answer.exit_code == 0, answer.output
    return answer.output


@pytest.mark.parametrize("kind", ["masks", "labelme"])
def test_counts_are_met_and_no_photograph_is_in_two_parts(raw: Path, kind: str) -> None:
    more = ("--line-px", 4) if kind == "labelme" else ()
    lines = run(
        *("data", "tile", raw / "photographs", "--annotations", raw / kind, "--format", kind),
        *("--out", raw / "crops", "--tile-px", 64, "--empty-share", 0, "--split", "12/3/4", *more),
    )
    assert "19 tiles written" in lines
    tiles = index_folder(raw / "crops")
    counts = {part: [t for t in tiles if t.split == part] for part in ("train", "val", "test")}
    assert {part: len(of_part) for part, of_part in counts.items()} == {
        "train": 12,
        "val": 3,
        "test": 4,
    }
    sites = {part: {tile.site for tile in of_part} for part, of_part in counts.items()}
    assert not sites["train"] & sites["val"]
    assert not (sites["train"] | sites["val"]) & sites["test"]
    assert len(sites["train"]) > 3  # spread over the photographs of a part
    assert max(sites["train"]) < min(sites["val"]) < min(sites["test"])  # blocks of the flight
    for tile in tiles:
        picture, mask = read_pair(tile)
        number = int(tile.site[-4:])
        row, col = (int(part[1:]) for part in tile.image.stem.rsplit("_", 2)[1:])
        where = np.s_[row : row + 64, col : col + 64]
        with Image.open(raw / "photographs" / f"{tile.site}.JPG") as whole:  # noqa: TID251
            assert np.array_equal(picture, np.asarray(whole)[where])
        near = crack(number)[where]
        assert mask.any()
        assert np.count_nonzero(mask != near) <= (0 if kind == "masks" else 0.35 * near.sum())
    assert sorted(path.name for path in raw.iterdir()) == [
        "crops",
        "labelme",
        "masks",
        "photographs",
    ]


def test_a_site_of_several_photographs_is_not_parted(raw: Path) -> None:
    run("data", "import", raw / "masks", "--images", raw / "photographs", "--format", "masks",
        "--out", raw / "set", "--licence", "ours")  # fmt: skip
    sites = "".join(f"DJI_{k:04},wall {k // 3}\n" for k in range(COUNT))
    (raw / "set" / "sites.csv").write_text(f"stem,site\n{sites}")
    run("data", "tile", raw / "set", "--out", raw / "t", "--tile-px", 64, "--split", "0.4/0.3/0.3")
    tiles = index_folder(raw / "t")
    assert len(tiles) == COUNT * 3 * 4
    assert {(t.split, t.site, t.licence) for t in tiles} == {
        ("train", "wall 0", "ours"),
        ("val", "wall 1", "ours"),
        ("test", "wall 2", "ours"),
    }


def test_too_few_photographs_are_refused_and_nothing_is_left(raw: Path) -> None:
    options = TileOptions(tile_px=64, empty_share=0, split=(400, 50, 50))
    with pytest.raises(ConfigError, match=r"asks for 400/50/50, and the 8 photographs .* give"):
        tile_data(raw / "photographs", raw / "crops", options, source=_masks(raw))
    assert not (raw / "crops").exists()
    assert not list(raw.glob(".*"))


def _masks(raw: Path) -> tuple:
    from crackseg.training.annotations import ImportOptions

    return raw / "masks", "masks", ImportOptions()


def test_what_is_in_the_folder_stays(raw: Path) -> None:
    (raw / "crops").mkdir()
    (raw / "crops" / "thesis.doc").write_text("years of work")
    answer = CliRunner().invoke(
        app, ["data", "tile", str(raw / "photographs"), "--annotations", str(raw / "masks"),
              "--out", str(raw / "crops")]
    )  # fmt: skip
    assert answer.exit_code != 0
    assert [path.name for path in (raw / "crops").iterdir()] == ["thesis.doc"]


@pytest.mark.parametrize("text", ["404/50", "404/50/50/1", "a/b/c", "0/50/50", "4.5/1/1", "-1/1/1"])
def test_an_odd_split_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="split"):
        TileOptions(split=parse_split(text))


def test_photographs_that_are_parted_already_are_not_parted_again(raw: Path) -> None:
    run("data", "import", raw / "masks", "--images", raw / "photographs", "--format", "masks",
        "--out", raw / "set")  # fmt: skip
    (raw / "set" / "train.txt").write_text("DJI_0000\nDJI_0001\n")
    (raw / "set" / "val.txt").write_text("DJI_0002\n")
    with pytest.raises(ConfigError, match="in val by their lists already"):
        cut_tiles(index_folder(raw / "set"), raw / "t", TileOptions(tile_px=64, split=(2, 1, 1)))
    with pytest.raises(DataError, match="no data"):
        tile_data(raw / "photographs", raw / "t", TileOptions())


@pytest.mark.parametrize("wanted", [(404, 50, 50), (30, 10, 5), (1, 1, 1), (5, 0, 2)])
def test_every_number_is_met_whatever_the_photographs_hold(wanted: tuple[int, ...]) -> None:
    from crackseg.records import Sample
    from crackseg.training.tiling import Tile

    rng = np.random.default_rng(sum(wanted))
    planned = []
    for number in range(120):
        sample = Sample(
            image=Path(f"p{number:03}.jpg"), mask=Path(f"p{number:03}.png"), source="s",
            split="train", site=f"block {number // 5}" if number % 2 else "",
        )  # fmt: skip
        count = int(rng.integers(0, 40))
        planned.append([Tile(sample=sample, row=0, col=64 * k) for k in range(count)])
    parts = share_out(planned, TileOptions(split=tuple(map(float, wanted))))
    names = [part for part, count in zip(("train", "val", "test"), wanted, strict=True) if count]
    assert [len(parts[name]) for name in names] == [count for count in wanted if count]
    assert set(parts) == set(names)
    sites = [{tile.site for tile in parts[name]} for name in names]
    assert sum(map(len, sites)) == len(set().union(*sites))
    stems = [tile.stem for tiles in parts.values() for tile in tiles]
    assert len(set(stems)) == len(stems)


def test_the_line_of_the_page_gives_the_articles_table(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightning")
    page = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"```sh\n(crackseg data tile .*?)```", page, flags=re.S)
    text = ARTICLE.read_text(encoding="utf-8")
    assert " ".join(line.replace("\\\n", " ").split()) in " ".join(
        text.replace("\n#", " ").split()
    )  # the file says the same
    text = re.sub(r"steps = 1600", "steps = 2\nsteps_per_epoch = 2", text)
    text = re.sub(r"width = [\d.]+", "width = 0.03125", text).replace(
        "crop_px = 256", "crop_px = 64"
    )
    (raw / "data" / "runs").mkdir(parents=True)
    (raw / "data" / "runs" / "article.toml").write_text(text.replace("batch = 4", "batch = 2"))
    monkeypatch.chdir(raw)
    line = line.replace("PHOTOGRAPHS", "photographs").replace("MASKS", "masks")
    line = line.replace("404/50/50", "12/3/3").replace("--out crops", "--out crops --tile-px 64")
    for command in line.replace("\\\n", " ").split("&&"):
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        assert exit_code() == 0, command
    table = (raw / "article" / "compare.md").read_text(encoding="utf-8")
    head = next(row for row in table.splitlines() if row.startswith("| network"))
    for measure in ("P", "TPR", "TNR", "F", "crack IoU"):
        assert re.search(rf"\b{measure}\b", head), measure
    for name in ("CDDS", "ResNet152-based", "SegNet", "U-Net", "FCN-8s"):
        assert f"| {name} |" in table
    assert re.search(r"\| CDDS \(Feng 2020\) \| 0\.803 \| 0\.80[45] \|", table)


def naive(mask: np.ndarray, label: np.ndarray) -> dict[str, float | None]:
    """Return the article's measures by counting pixel after pixel."""
    hit = miss = false = right = 0
    for made, true in zip(mask.ravel().tolist(), label.ravel().tolist(), strict=True):
        hit += made and true
        miss += true and not made
        false += made and not true
        right += not made and not true

    def share(part: float, whole: float) -> float | None:
        return part / whole if whole else None

    return {
        "precision": share(hit, hit + false),
        "recall_tpr": share(hit, hit + miss),
        "tnr": share(right, right + false),
        "f": share(2 * hit, 2 * hit + false + miss),
        "iou": share(hit, hit + false + miss),
    }


def test_the_table_of_pictures_holds_the_articles_measures(raw: Path) -> None:
    from dark_model import write_dark_model

    from crackseg.config import PredictOptions
    from crackseg.imagery.files import open_image
    from crackseg.inference.predictor import Predictor

    model = write_dark_model(raw / "model")
    run("data", "tile", raw / "photographs", "--annotations", raw / "masks", "--out",
        raw / "crops", "--tile-px", 64, "--split", "60/12/12")  # fmt: skip
    run("evaluate", raw / "crops", "--model", model, "--threshold", 0.5, "--threshold-low", 0.5,
        "--per-picture", raw / "table.csv")  # fmt: skip
    with (raw / "table.csv").open(newline="") as stream:
        rows = {row["picture"]: row for row in csv.DictReader(stream)}
    mean = rows.pop("mean")
    assert len(rows) == 12
    predictor = Predictor.open(str(model), PredictOptions(runtime="onnx", precision="float"))
    columns: dict[str, list[float]] = {}
    for tile in (t for t in index_folder(raw / "crops") if t.split == "test"):
        with open_image(tile.image) as image:
            marked = predictor.predict(image).probability >= 128
        for name, value in naive(marked, read_pair(tile)[1]).items():
            cell = rows[tile.image.stem][name]
            if value is None:
                assert cell == "", (name, tile.image.stem)
            else:
                assert float(cell) == pytest.approx(value, abs=6e-5)
                columns.setdefault(name, []).append(value)
    assert {row["site"] for row in rows.values()} == {t[:8] for t in rows}
    for name, values in columns.items():
        assert float(mean[name]) == pytest.approx(np.mean(values), abs=6e-5)
    assert len(columns["recall_tpr"]) < 12  # undefined where there is no crack


def article_rows() -> list[object]:
    from crackseg.training.compare_options import read_compare, run_options

    rows = []
    for file in (ARTICLE, ROOT / "data" / "runs" / "compare.toml"):
        options = read_compare(file)
        chosen = [
            row
            for row in options.network
            if file == ARTICLE or row.name.endswith("article's recipe")
        ]
        assert chosen, file
        rows += [run_options(row, 1, options) for row in chosen]
    return rows


def test_the_articles_recipe_is_dice_alone_with_adam_at_three_rates() -> None:
    pytest.importorskip("lightning")
    from crackseg.training.fit import lr_factor

    for run_of in article_rows():
        fit = run_of.fit
        assert (fit.loss, fit.optimizer, fit.ema, fit.clip_norm) == ("dice", "adam", 0, 0)
        rates = [fit.lr * lr_factor(step, fit) for step in range(fit.steps)]
        third = fit.steps // 3
        assert rates[0] == pytest.approx(1e-4)
        assert rates[third - 1] == pytest.approx(1e-4)
        assert rates[third + 1] == pytest.approx(1e-5)
        assert rates[-1] == pytest.approx(1e-6)
        assert sorted(rates, reverse=True) == rates
        if run_of.network == "cdds":
            assert fit.branch_weight == 1
            assert run_of.arguments["dropout"] == 0.5
    plain = tomllib.loads((ROOT / "data" / "runs" / "compare.toml").read_text(encoding="utf-8"))
    row = next(row for row in plain["network"] if row["name"].endswith("article's recipe"))
    assert "tune" not in row  # its own rates
