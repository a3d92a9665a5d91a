"""The page on one's own model: its commands run as they stand there, on rendered pictures.

Every labelling tool's file of the same cracks gives the same masks, and what is imported in
several runs, from folders with equal names or from Windows, is never mixed up.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import exit_code
from PIL import Image
from skimage.draw import polygon2mask
from typer.testing import CliRunner

from crackseg.commands import app
from crackseg.config import read_options
from crackseg.errors import ConfigError, DataError
from crackseg.training.annotations import ImportOptions, import_annotations
from crackseg.training.first_run import TEMPLATE, init_run
from crackseg.training.manifest import index_folder, read_manifest, read_pair, write_manifest

PAGE = Path(__file__).parents[2] / "docs" / "own-model.md"
SIDE = 160
NAMES = tuple(f"DJI_{number:04}" for number in range(6))
FREE = NAMES[1], NAMES[5]  # without a crack: one to learn from, one to judge by


def ring_of(number: int) -> np.ndarray:
    """Return the (N, 2) x, y outline of a wandering crack about 5 px wide, away from .5."""
    x = np.linspace(12.3, 148.3, 30)
    y = 40.2 + 12 * number + 9 * np.sin(x / 17 + number)
    half = 2.4 + 0.8 * np.sin(x / 9)
    ring = np.vstack([np.c_[x, y - half], np.c_[x, y + half][::-1]])
    return np.round(ring, 2)


def mask_of(number: int) -> np.ndarray:
    if NAMES[number] in FREE:
        return np.zeros((SIDE, SIDE), bool)
    mask: np.ndarray = polygon2mask((SIDE, SIDE), ring_of(number)[:, ::-1] - 0.5)
    return mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``photographs``: rendered walls with a dark crack in four of six."""
    from crackseg.training.rendered import render

    folder = tmp_path_factory.mktemp("own")
    (folder / "photographs").mkdir()
    for number, name in enumerate(NAMES):
        picture = render(3 * number, SIDE).picture.astype(float)  # each third is a sound wall
        shade = cv2.GaussianBlur(mask_of(number).astype(float), (0, 0), 0.8)[..., None]
        pixels = np.clip(picture * (1 - 0.75 * shade), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "photographs" / f"{name}.png")
    return folder


def corners(number: int, pair: str = ",", between: str = ";") -> str:
    return between.join(f"{x}{pair}{y}" for x, y in ring_of(number))


def cracked() -> list[tuple[int, str]]:
    return [(k, name) for k, name in enumerate(NAMES) if name not in FREE]


def runs_along(values: np.ndarray) -> list[int]:
    """Return the lengths of the runs of False and True, False first, by a plain loop."""
    runs, last = [0], False
    for value in values.tolist():
        if value != last:
            runs.append(0)
            last = value
        runs[-1] += 1
    return runs


def write_cvat(out: Path, prefix: str = "") -> Path:
    """Outlines, one of them as a mask of CVAT's brush."""
    parts = []
    for number, name in enumerate(NAMES):
        inner = f'<polygon label="crack" points="{corners(number)}" z_order="0"/>'
        if number == 2:
            runs = ", ".join(map(str, runs_along(mask_of(2).ravel())))
            box = f'left="0" top="0" width="{SIDE}" height="{SIDE}"'
            inner = f'<mask label="crack" rle="{runs}" {box} z_order="0"/>'
        inner = "" if name in FREE else inner
        head = f'id="{number}" name="{prefix}{name}.png" width="{SIDE}" height="{SIDE}"'
        parts.append(f"<image {head}>{inner}</image>")
    out.write_text(f"<annotations><version>1.1</version>{''.join(parts)}</annotations>")
    return out


def write_coco(out: Path, prefix: str = "") -> Path:
    images = [
        {"id": k, "file_name": f"{prefix}{name}.png", "height": SIDE, "width": SIDE}
        for k, name in enumerate(NAMES)
    ]
    shapes = [
        {"id": k, "image_id": k, "category_id": 1, "segmentation": [ring_of(k).ravel().tolist()]}
        for k, _ in cracked()
    ]
    counts = runs_along(mask_of(3).T.ravel())
    shapes[-2] |= {"segmentation": {"size": [SIDE, SIDE], "counts": counts}, "iscrowd": 1}
    kinds = [{"id": 1, "name": "crack"}]
    out.write_text(json.dumps({"images": images, "annotations": shapes, "categories": kinds}))
    return out


def write_labelme(out: Path) -> Path:
    """Outlines, one of them as the mask that LabelMe's AI tools draw."""
    out.mkdir()
    for number, name in enumerate(NAMES):
        shape = {"label": "crack", "shape_type": "polygon", "points": ring_of(number).tolist()}
        if number == 2:
            rows, cols = np.nonzero(mask_of(2))
            box = [[cols.min(), rows.min()], [cols.max(), rows.max()]]
            part = mask_of(2)[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
            file = io.BytesIO()
            Image.fromarray(part).save(file, "PNG")
            text = base64.b64encode(file.getvalue()).decode()
            points = [[int(x), int(y)] for x, y in box]
            shape = {"label": "crack", "shape_type": "mask", "points": points, "mask": text}
        head = {"imagePath": f"..\\photographs\\{name}.png", "imageHeight": SIDE}
        shapes = [] if name in FREE else [shape]
        text = json.dumps(head | {"imageWidth": SIDE, "shapes": shapes})
        (out / f"{name}.json").write_text(text)
    return out


def write_label_studio(out: Path) -> Path:
    tasks = []
    for number, name in enumerate(NAMES):
        value = {
            "points": (ring_of(number) * 100 / SIDE).tolist(),
            "polygonlabels": ["crack"],
        }
        size = {"original_width": SIDE, "original_height": SIDE}
        result = [{"id": "a", "type": "polygonlabels", **size, "value": value}]
        made = [] if name in FREE else result
        data = {"image": f"/data/upload/1/0123abcd-{name}.png"}
        tasks.append({"id": number, "data": data, "annotations": [{"result": made}]})
    out.write_text(json.dumps(tasks))
    return out


def write_via(out: Path) -> Path:
    entries = {}
    for number, name in enumerate(NAMES):
        x, y = ring_of(number).T.tolist()
        form = {"name": "polygon", "all_points_x": x, "all_points_y": y}
        region = {"shape_attributes": form, "region_attributes": {"kind": "crack"}}
        regions = [] if name in FREE else [region]
        entries[f"{name}.png1"] = {"filename": f"{name}.png", "size": 1, "regions": regions}
    out.write_text(json.dumps({"_via_img_metadata": entries}))
    return out


def write_yolo(out: Path) -> Path:
    (out / "labels").mkdir(parents=True)
    (out / "data.yaml").write_text("names: ['crack']\nnc: 1\n")
    for number, name in enumerate(NAMES):
        values = " ".join(f"{value:.8f}" for value in (ring_of(number) / SIDE).ravel())
        line = "" if name in FREE else f"0 {values}\n"
        (out / "labels" / f"{name}.txt").write_text(line)
    return out


def write_voc(out: Path) -> Path:
    """Masks in VOC's palette, as CVAT's "Segmentation mask 1.1" writes them."""
    out.mkdir()
    for number, name in enumerate(NAMES):
        picture = Image.fromarray(mask_of(number).astype(np.uint8))
        picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        picture.save(out / f"{name}.png")
    return out


def write_lear(out: Path) -> Path:
    """Masks of 0 and 255, as LEAR's mask tool writes them."""
    out.mkdir()
    for number, name in enumerate(NAMES):
        Image.fromarray(mask_of(number).astype(np.uint8) * 255).save(out / f"{name}_mask.png")
    return out


TOOLS: dict[str, tuple[str, str, Callable[..., Path]]] = {
    "CVAT": ("cvat", "a.xml", write_cvat),
    "COCO": ("coco", "a.json", write_coco),
    "LabelMe": ("labelme", "labelme", write_labelme),
    "Label Studio": ("labelstudio", "a.json", write_label_studio),
    "VIA": ("via", "a.json", write_via),
    "YOLO-seg": ("yolo", "yolo", write_yolo),
    "VOC palette": ("masks", "voc", write_voc),
    "LEAR": ("masks", "lear", write_lear),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_gives_the_same_masks(tool: str, folder: Path, tmp_path: Path) -> None:
    kind, name, write = TOOLS[tool]
    photographs, out = folder / "photographs", tmp_path / "sets" / "dam"
    done = import_annotations(
        write(tmp_path / name), photographs, out, format=kind, options=ImportOptions()
    )
    assert [sample.image.stem for sample in done.samples] == list(NAMES)
    assert (done.empty, done.shapes) == (len(FREE), len(NAMES) - len(FREE))
    for number, sample in enumerate(done.samples):
        assert np.array_equal(read_pair(sample)[1], mask_of(number)), sample.image.name
    answer = CliRunner().invoke(app, ["data", "check", str(tmp_path / "sets")])
    assert answer.exit_code == 0, answer.output


def line_masks(done: object) -> list[int]:
    """Return how many rows each mask's column 80 has."""
    return [int(read_pair(sample)[1][:, 80].sum()) for sample in done.samples]


LINE = [[20.0, 50.0], [140.0, 50.0]]
WIDE = [[20.0, 90.0], [140.0, 90.0]]


def lines_of_cvat(out: Path) -> Path:
    shapes = "".join(
        f'<polyline label="crack" points="{";".join(f"{x},{y}" for x, y in points)}">{width}'
        "</polyline>"
        for points, width in ((LINE, ""), (WIDE, '<attribute name="width_px">8</attribute>'))
    )
    out.write_text(
        f'<annotations><image id="0" name="{NAMES[0]}.png" width="{SIDE}" height="{SIDE}">'
        f"{shapes}</image></annotations>"
    )
    return out


def lines_of_labelme(out: Path) -> Path:
    out.mkdir()
    shapes = [
        {"label": "crack", "shape_type": "linestrip", "points": LINE, "description": ""},
        {"label": "crack", "shape_type": "line", "points": WIDE, "description": "width_px=8"},
    ]
    head = {"imagePath": f"{NAMES[0]}.png", "imageHeight": SIDE, "imageWidth": SIDE}
    (out / "a.json").write_text(json.dumps(head | {"shapes": shapes}))
    return out


def lines_of_via(out: Path) -> Path:
    regions = []
    for points, more in ((LINE, {}), (WIDE, {"width_px": "8"})):
        x, y = np.transpose(points).tolist()
        form = {"name": "polyline", "all_points_x": x, "all_points_y": y}
        regions.append({"shape_attributes": form, "region_attributes": {"kind": "crack"} | more})
    entry = {"filename": f"{NAMES[0]}.png", "size": 1, "regions": regions}
    out.write_text(json.dumps({"a": entry}))
    return out


def lines_of_coco(out: Path) -> Path:
    shapes = [
        {"id": k, "image_id": 1, "category_id": 1, "segmentation": [np.ravel(points).tolist()]}
        | more
        for k, (points, more) in enumerate(
            ((LINE, {}), (WIDE, {"attributes": {"width_px": 8.0, "occluded": False}}))
        )
    ]
    image = {"id": 1, "file_name": f"{NAMES[0]}.png", "height": SIDE, "width": SIDE}
    kinds = [{"id": 1, "name": "crack"}]
    out.write_text(json.dumps({"images": [image], "annotations": shapes, "categories": kinds}))
    return out


LINES = {
    "cvat": ("a.xml", lines_of_cvat),
    "labelme": ("labelme", lines_of_labelme),
    "via": ("a.json", lines_of_via),
    "coco": ("a.json", lines_of_coco),
}


@pytest.mark.parametrize("kind", LINES)
def test_lines_have_their_own_width_or_the_common_one(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    name, write = LINES[kind]
    source = write(tmp_path / name)
    photographs = folder / "photographs"
    done = import_annotations(
        source, photographs, tmp_path / "set", format=kind, options=ImportOptions(line_px=4)
    )
    mask = read_pair(done.samples[0])[1]
    assert int(mask[30:70, 80].sum()) == 4
    assert int(mask[70:110, 80].sum()) == 8
    with pytest.raises(DataError, match="line without a width"):
        import_annotations(
            source, photographs, tmp_path / "other", format=kind, options=ImportOptions()
        )


@pytest.mark.parametrize("text", ["-2", "wide", "nan", "0"])
def test_a_width_that_is_none_is_refused(text: str, folder: Path, tmp_path: Path) -> None:
    source = lines_of_cvat(tmp_path / "a.xml")
    source.write_text(source.read_text().replace(">8<", f">{text}<"))
    with pytest.raises(DataError, match=r"polyline 2.*`width_px` must be a positive"):
        import_annotations(
            source,
            folder / "photographs",
            tmp_path / "set",
            format="cvat",
            options=ImportOptions(line_px=4),
        )


def run_import(source: Path, photographs: Path, out: Path, *more: str) -> str:
    """Return what the command prints; it must end well."""
    base = ["data", "import", str(source), "--images", str(photographs), "--format", "cvat"]
    answer = CliRunner().invoke(app, [*base, "--out", str(out), *more])
    if answer.exception and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer.output


def move(photographs: Path, to: Path, tone: int) -> Path:
    """Copy the photographs elsewhere, a little darker: another flight with equal names."""
    to.mkdir(parents=True)
    for file in photographs.iterdir():
        with Image.open(file) as picture:  # noqa: TID251 - an independent reader
            Image.fromarray(np.asarray(picture) - np.uint8(tone)).save(to / file.name)
    return to


def test_flights_with_equal_names_from_windows_stay_apart(folder: Path, tmp_path: Path) -> None:
    for number, flight in enumerate(("flight 1", "flight 2"), start=1):
        move(folder / "photographs", tmp_path / "photographs" / flight, number)
    both = tmp_path / "both.xml"
    texts = [
        write_cvat(tmp_path / f"{k}.xml", f"D:\\dam\\photographs\\flight {k}\\").read_text()
        for k in (1, 2)
    ]
    both.write_text(texts[0].replace("</annotations>", "") + texts[1].split("</version>")[1])
    run_import(both, tmp_path / "photographs", tmp_path / "sets" / "dam")
    samples = index_folder(tmp_path / "sets")
    assert len(samples) == 2 * len(NAMES)
    assert {s.image.stem for s in samples} == {f"flight {k}_{n}" for k in (1, 2) for n in NAMES}
    for sample in samples:  # each mask lies on the photograph of its own flight
        flight, name = sample.image.stem[:8], sample.image.stem[9:]
        own = tmp_path / "photographs" / flight / f"{name}.png"
        assert sample.image.read_bytes() == own.read_bytes()
        assert np.array_equal(read_pair(sample)[1], mask_of(NAMES.index(name)))


def test_two_runs_into_sets_side_by_side_and_into_one(folder: Path, tmp_path: Path) -> None:
    second = move(folder / "photographs", tmp_path / "second", 5)
    source = write_cvat(tmp_path / "a.xml")
    sets = tmp_path / "sets"
    more = ("--licence", "ours", "--site", "left bank")
    run_import(source, folder / "photographs", sets / "first", *more)
    before = {path: path.read_bytes() for path in sets.rglob("*.*")}
    with pytest.raises(DataError, match="in the set already with other content"):
        run_import(source, second, sets / "first")  # equal names, other photographs
    run_import(source, second, sets / "second", "--licence", "theirs", "--site", "right bank")
    run_import(source, folder / "photographs", sets / "first", *more)  # the same again: no harm
    assert {path: path.read_bytes() for path in before} == before
    assert not list(sets.glob(".*.part"))
    samples = index_folder(sets, hold_out=0.3)
    facts = {(s.source, s.site, s.licence, s.split) for s in samples}
    assert facts == {  # whole sites stay on one side
        ("first", "left bank", "ours", "train"),
        ("second", "right bank", "theirs", "val"),
    }


def test_a_photograph_that_is_there_by_another_name_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    source = write_cvat(tmp_path / "a.xml")
    run_import(source, folder / "photographs", tmp_path / "set")
    for number, name in enumerate(("copy of", "dji"), start=1):
        photographs = tmp_path / f"p{number}"
        photographs.mkdir()
        new = f"{name}.png" if number == 1 else f"{NAMES[2].lower()}.png"
        content = (folder / "photographs" / f"{NAMES[2]}.png").read_bytes()
        (photographs / new).write_bytes(content)
        text = source.read_text().split("<image")
        stored = text[0] + "<image" + text[3].replace(f"{NAMES[2]}.png", new) + "</annotations>"
        (tmp_path / "b.xml").write_text(stored)
        word = "as `.*DJI_0002" if number == 1 else "one file on some systems"
        with pytest.raises(DataError, match=word):
            run_import(tmp_path / "b.xml", photographs, tmp_path / "set")
    assert len(index_folder(tmp_path / "set")) == len(NAMES)


@pytest.mark.parametrize(
    ("more", "word"),
    [(("--licence", "other"), "is of licence 'ours'"), (("--site", "other"), "says 'dam'")],
)
def test_what_is_said_of_a_set_is_not_changed_by_a_second_import(
    more: tuple[str, str], word: str, folder: Path, tmp_path: Path
) -> None:
    source, out = write_cvat(tmp_path / "a.xml"), tmp_path / "set"
    run_import(source, folder / "photographs", out, "--licence", "ours", "--site", "dam")
    with pytest.raises(DataError, match=word):
        run_import(source, folder / "photographs", out, *more)


def test_a_licence_is_not_claimed_for_pictures_that_were_there(
    folder: Path, tmp_path: Path
) -> None:
    source, out = write_cvat(tmp_path / "a.xml"), tmp_path / "set"
    run_import(source, folder / "photographs", out)
    text = source.read_text().split("<image")
    source.write_text(text[0] + "<image" + text[1] + "</annotations>")
    with pytest.raises(DataError, match="of no known licence"):
        run_import(source, folder / "photographs", out, "--licence", "ours")


@pytest.fixture
def sets(folder: Path, tmp_path: Path) -> Path:
    source = write_cvat(tmp_path / "a.xml")
    run_import(source, folder / "photographs", tmp_path / "sets" / "dam", "--licence", "ours")
    return tmp_path / "sets"


def test_a_manifest_names_files_that_its_readers_find(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").mkdir()
    monkeypatch.chdir(tmp_path)
    for out in (Path("m.csv"), Path("lists/m.csv"), tmp_path / "sets" / "dam" / "m.csv"):
        command = ["data", "index", "sets", "--out", str(out), "--hold-out", "0.2"]
        assert CliRunner().invoke(app, command).exit_code == 0
        for folder in (tmp_path, tmp_path / "lists"):  # from wherever it is read
            monkeypatch.chdir(folder)
            answer = CliRunner().invoke(app, ["data", "check", str(tmp_path / out)])
            assert answer.exit_code == 0, answer.output
        monkeypatch.chdir(tmp_path)
    text = (tmp_path / "m.csv").read_text().replace("sets/dam/images/", "sets\\dam\\images\\")
    (tmp_path / "w.csv").write_text(text)  # as written by hand on Windows
    assert len(read_manifest(tmp_path / "w.csv")) == len(NAMES)


def test_a_file_on_another_drive_is_named_whole(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_way(path: object, start: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    samples = index_folder(sets)
    monkeypatch.setattr("crackseg.training.manifest.os.path.relpath", no_way)
    write_manifest(samples, tmp_path / "m.csv")
    assert [s.image for s in read_manifest(tmp_path / "m.csv")] == [s.image for s in samples]


def test_the_first_run_file_can_be_read_and_explains_itself(sets: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="extra train is not installed")
    from crackseg.training.fit import read_run

    lines = init_run(tmp_path / "new" / "ours.toml", sets)
    assert any("dam" in line and "val" in line for line in lines)
    options = read_run(tmp_path / "new" / "ours.toml")
    samples = read_manifest(options.data.manifest)
    assert [s.image.stem for s in samples if s.split == "val"] == [NAMES[4], NAMES[5]]
    assert {s.licence for s in samples} == {"ours"}
    assert options.out == tmp_path / "new" / "runs" / "ours"
    assert options.initial_weights is not None
    assert options.initial_weights.is_file()
    with (tmp_path / "new" / "ours.csv").open(newline="") as stream:
        columns = next(csv.reader(stream))
    text = TEMPLATE.read_text(encoding="utf-8")
    for column in columns:
        assert re.search(rf"^#   .*\b{column}\b", text, re.M), column
    (tmp_path / "new" / "ours.toml").unlink()
    with pytest.raises(ConfigError, match=r"ours\.csv` is there already"):
        init_run(tmp_path / "new" / "ours.toml", sets)


def test_every_option_that_the_run_file_proposes_is_one() -> None:
    from crackseg.training.options import TrainOptions

    text = TEMPLATE.read_text(encoding="utf-8")
    facts = {"network": "cdds_lite", "arguments": "outputs = 2", "manifest": "a.csv"}
    text = text.format(name="a", held_out=20, steps=1500, epoch=250, **facts)
    proposed = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.M)
    assert len(re.findall(r"^\w+ = ", proposed, flags=re.M)) > len(
        re.findall(r"^\w+ = ", text, flags=re.M)
    )
    read_options(TrainOptions, tomllib.loads(proposed))


@pytest.mark.parametrize(
    ("lists", "hold_out", "word"),
    [
        ({}, 0.0, "no picture of split val"),
        ({"val": NAMES}, 0.2, "no picture of split train"),
    ],
)
def test_a_run_without_anything_to_judge_by_is_not_begun(
    lists: dict[str, tuple[str, ...]], hold_out: float, word: str, sets: Path, tmp_path: Path
) -> None:
    for split, stems in lists.items():
        (sets / "dam" / f"{split}.txt").write_text("\n".join(stems))
    with pytest.raises(DataError, match=word):
        init_run(tmp_path / "ours.toml", sets, hold_out=hold_out)
    assert not list(tmp_path.glob("ours.*"))


def test_the_first_run_names_what_is_doubtful(folder: Path, tmp_path: Path) -> None:
    source = write_cvat(tmp_path / "a.xml")
    run_import(source, folder / "photographs", tmp_path / "set")
    (tmp_path / "set" / "train.txt").write_text("\n".join([NAMES[0], NAMES[2]]))
    (tmp_path / "set" / "val.txt").write_text(NAMES[5])
    lines = "\n".join(init_run(tmp_path / "ours.toml", tmp_path / "set"))
    assert "no licence is stated for set" in lines
    assert "every picture of train shows a crack" in lines
    assert "no picture of val shows a crack" in lines


def page_commands() -> list[str]:
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    return block.splitlines()


def test_the_page_tells_every_format_and_column() -> None:
    from crackseg.training.readers import READERS

    page = PAGE.read_text(encoding="utf-8")
    assert set(READERS) == set(re.findall(r"^\| [^|]+ \| `(\w+)` \|", page, flags=re.M))
    for word in ("--licence", "--site", "sites.csv", "origin.json", "crackseg serve --model"):
        assert word in page


@pytest.mark.slow
def test_the_commands_of_the_page_run_in_an_empty_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("torch", reason="extra train is not installed")
    from crackseg.inference.models import load_model

    (tmp_path / "photographs").symlink_to(folder / "photographs")
    write_cvat(tmp_path / "annotations.xml")
    monkeypatch.chdir(tmp_path)
    for command in page_commands():
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        assert exit_code() == 0, f"{command}: {capsys.readouterr().err}"
        if "--init" in command:  # a training of seconds
            text = Path("ours.toml").read_text()
            assert "steps = 1500" in text
            text = re.sub(r"steps = \d+", "steps = 2", text)
            text = re.sub(r"steps_per_epoch = \d+", "steps_per_epoch = 2", text)
            text = re.sub(r"crop_px = \d+", "crop_px = 96", text)
            Path("ours.toml").write_text(re.sub(r"batch = \d+", "batch = 2", text))
    card = load_model("model_ours").card
    own, *inherited = card.data
    assert (own["name"], own["licence"], own["pictures"]) == ("dam", "ours", 4)
    assert inherited  # of the model it went on from: their terms go on
    assert card.scores["choice"]["pictures"] == 2
    reports = sorted(Path("results").glob("*/report.json"))
    assert len(reports) == len(NAMES)
    model = json.loads(reports[0].read_text())["model"]
    assert "ours" in json.dumps(model)
    if find_spec("fastapi"):
        serve_until_ready(tmp_path)


def serve_until_ready(folder: Path) -> None:
    """Run the line of the page that serves the model until its worker has loaded it."""
    (line,) = re.findall(r"```\n(crackseg serve .*)\n```", PAGE.read_text(encoding="utf-8"))
    words = [*shlex.split(line)[1:], "--port", "0"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "crackseg.cli", *words], cwd=folder, stdout=log, stderr=log
        )
        try:
            while "worker ready" not in (folder / "log").read_text():
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        finally:
            process.terminate()
            process.wait(60)
