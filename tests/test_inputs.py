"""Every photograph is handed on or named; what is no photograph stays silent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crackseg.errors import ConfigError, DataError
from crackseg.folders import filling
from crackseg.inputs import find_inputs
from crackseg.words import read_words

Photo = Callable[..., Path]
HEIC = b"\0\0\0\x18ftypheic" + b"\0" * 100
RAW = b"II*\0" + b"\0" * 200
MP4 = b"\0\0\0\x18ftypmp42" + b"\0" * 100


def names(paths: tuple[Path, ...], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_photographs_of_kinds_that_cannot_be_read_are_handed_on(
    photo: Photo, tmp_path: Path
) -> None:
    photo(tmp_path / "a.jpg")
    for name, content in (
        ("b.HEIC", HEIC),
        ("c.DNG", RAW),
        ("d.webp", b"RIFF1234WEBP"),
        ("e", HEIC),
    ):
        (tmp_path / name).write_bytes(content)
    photo(tmp_path / "x.jpg").rename(tmp_path / "no suffix")
    inputs = find_inputs([tmp_path])
    assert names(inputs.paths, tmp_path) == ["a.jpg", "b.HEIC", "c.DNG", "d.webp", "e", "no suffix"]
    assert inputs.passed == ()


def test_videos_archives_and_second_copies_are_passed_over_by_name(
    photo: Photo, tmp_path: Path
) -> None:
    shot = photo(tmp_path / "DJI_1.JPG")
    (tmp_path / "DJI_1.DNG").write_bytes(RAW)
    (tmp_path / "DJI_2.DNG").write_bytes(RAW)
    (tmp_path / "flight.MP4").write_bytes(MP4)
    (tmp_path / "rest.zip").write_bytes(b"PK\3\4")
    documents = ("report.PDF", "plan.svg", "plan.ai", "old.eps", "wall.dwg", "minutes.docx")
    for name in documents:
        (tmp_path / name).write_bytes(b"%PDF")
    for name in ("notes.txt", "track.gpx", "points.csv", "site.toml"):
        (tmp_path / name).write_bytes(b"1,2")
    (tmp_path / "DJI_1.JPG_original").write_bytes(shot.read_bytes())
    inputs = find_inputs([tmp_path])
    assert names(inputs.paths, tmp_path) == ["DJI_1.JPG", "DJI_2.DNG"]
    reasons = {item.path.name: item.reason.split(";")[0] for item in inputs.passed}
    assert reasons == {
        "DJI_1.DNG": "the raw data of a photograph that is analyzed beside it",
        "DJI_1.JPG_original": "a second copy by its suffix",
        "flight.MP4": "a video",
        "rest.zip": "an archive",
        **dict.fromkeys(documents, "a document or drawing"),
    }


def test_a_folder_of_videos_alone_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "only.mov").write_bytes(MP4)
    with pytest.raises(ConfigError, match=r"holds no image \(`only.mov` is a video"):
        find_inputs([tmp_path])


def test_what_systems_and_people_leave_behind_is_silent(photo: Photo, tmp_path: Path) -> None:
    first = photo(tmp_path / "a.jpg")
    for name in (
        "Thumbs.db",
        "desktop.ini",
        "._notes.txt",
        ".DS_Store",
        "notes.txt",
        "a.xmp",
        "a.srt",
    ):
        (tmp_path / name).write_text("x")
    (tmp_path / "README").write_text("Aufnahmen vom Mai: S\xfcdwand\n", encoding="latin-1")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "._a.jpg").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    assert find_inputs([tmp_path]).paths == (first,)
    assert find_inputs([tmp_path]).passed == ()


def test_what_nobody_knows_is_passed_over_by_name_in_few_kinds(
    photo: Photo, tmp_path: Path
) -> None:
    first = photo(tmp_path / "a.jpg")
    content = {
        "of no kind that is known here": (
            "b.icns", "c.img", "d.cpt", "e.never heard of", "IMG_0001", "f.vrt", "g.hdr",
        ),
        "an empty file (0 bytes)": (),
        "an unfinished download by its suffix": (
            "g.jpg.crdownload", "h.jpg.part", "i.JPG.partial", "j.opdownload", "k.jpg.!ut",
        ),
        "a placeholder of a file in a cloud": ("l.JPG.icloud", ".m.JPG.icloud"),
        "a folder of the system with pictures (thumbnails, deleted files)": (),
        "a second copy by its suffix": (),
        "a video": ("n.lrv",),
    }  # fmt: skip
    for names_of_kind in content.values():
        for name in names_of_kind:
            (tmp_path / name).write_bytes(b"\0\1\2")
    (tmp_path / "f.vrt").write_text("<VRTDataset>")
    for name in ("empty", "empty.x"):
        (tmp_path / name).touch()
    for folder in ("@eaDir", "#recycle"):
        photo(tmp_path / folder / "a.jpg" / "small.jpg")
    (tmp_path / "a.tif.ovr").write_bytes(RAW)
    found = find_inputs([tmp_path])
    assert found.paths == (first,)
    reasons: dict[str, set[str]] = {}
    for item in found.passed:
        reasons.setdefault(item.reason.split(";")[0], set()).add(item.path.name)
    besides = {
        "an empty file (0 bytes)": {"empty", "empty.x"},
        "a folder of the system with pictures (thumbnails, deleted files)": {"@eaDir", "#recycle"},
        "a second copy by its suffix": {"a.tif.ovr"},
    }
    assert reasons == {kind: set(names) for kind, names in content.items()} | besides
    german = read_words("de")
    assert all(german.sentence(item.reason) != item.reason for item in found.passed)


def test_pictures_by_name_or_content_are_handed_on_whatever_reads_them(
    photo: Photo, tmp_path: Path
) -> None:
    by_name = ["b.ppm", "c.pgm", "d.dib", "e.heics", "f.jxr", "g.fits", "h.kra", "i.pcx"]
    for name in by_name:
        (tmp_path / name).write_bytes(b"\0\1\2")
    by_content = [tmp_path / name for name in ("x.insp", "y.img", "z.never heard of", "z.txt")]
    for path in by_content:
        photo(tmp_path / "x.jpg").rename(path)
    found = find_inputs([tmp_path])
    assert names(found.paths, tmp_path) == [*by_name, *(path.name for path in by_content)]
    assert found.passed == ()


def test_hidden_photographs_are_passed_over_by_name(photo: Photo, tmp_path: Path) -> None:
    first = photo(tmp_path / "a.jpg")
    photo(tmp_path / ".b.jpg")
    photo(tmp_path / "north" / ".picasaoriginals" / "c.jpg")
    photo(tmp_path / "bare.png").rename(tmp_path / ".bare")
    (tmp_path / "._a.jpg").write_bytes(bytes.fromhex("00051607") + b"Mac OS X")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("x")
    inputs = find_inputs([tmp_path])
    assert inputs.paths == (first,)
    reasons = {item.path.name: item.reason.split(";")[0] for item in inputs.passed}
    assert reasons == {
        ".b.jpg": "hidden by the dot before its name",
        ".bare": "hidden by the dot before its name",
        ".picasaoriginals": "a hidden folder with pictures",
        "._a.jpg": "what macOS keeps of a file beside it (a resource fork), by its name no picture",
    }
    assert find_inputs([tmp_path / ".b.jpg"]).paths == (tmp_path / ".b.jpg",)


def test_links_are_followed_once_and_dangling_ones_are_handed_on(
    photo: Photo, tmp_path: Path
) -> None:
    box, drive = tmp_path / "in", tmp_path / "drive"
    photo(box / "a.png")
    photo(drive / "b.png")
    (box / "linked").symlink_to(drive)
    (box / "once more").symlink_to(drive)
    (box / "loop").symlink_to(box)
    (box / "itself").symlink_to(box / "itself")
    (box / "gone.jpg").symlink_to(tmp_path / "away" / "gone.jpg")
    (box / "missing drive").symlink_to(tmp_path / "away")
    os.mkfifo(box / "pipe.jpg")
    os.mkfifo(box / "pipe")
    below = names(find_inputs([box]).paths, box)
    assert below == ["a.png", "gone.jpg", "itself", "linked/b.png", "missing drive", "pipe.jpg"]


def test_results_are_no_photographs_wherever_they_lie(photo: Photo, tmp_path: Path) -> None:
    first = photo(tmp_path / "a.jpg")
    with filling(tmp_path / "results" / "a") as fresh:
        photo(fresh / "overlay.jpg")
    own = photo(tmp_path / "results" / "a" / "detail.jpg")  # put there by the user
    assert find_inputs([tmp_path]).paths == (first, own)


@pytest.mark.parametrize("out", [".", ".."])
def test_results_may_go_beside_the_photographs(out: str, photo: Photo, tmp_path: Path) -> None:
    first = photo(tmp_path / "in" / "a.jpg")
    assert find_inputs([tmp_path / "in"], tmp_path / "in" / out).paths == (first,)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_handed_on(photo: Photo, tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    (tmp_path / "locked").mkdir(mode=0)
    assert tmp_path / "locked" in find_inputs([tmp_path]).paths


def test_a_pattern_takes_folders_and_dangling_links_too(photo: Photo, tmp_path: Path) -> None:
    photo(tmp_path / "north" / "a.jpg")
    photo(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").symlink_to(tmp_path / "away")
    (tmp_path / "Thumbs.db").touch()
    matched = names(find_inputs([str(tmp_path / "*")]).paths, tmp_path)
    assert matched == ["b.jpg", "c.jpg", "north/a.jpg"]
    assert names(find_inputs([str(tmp_path / "**" / "*.jpg")]).paths, tmp_path) == [
        "b.jpg", "c.jpg", "north/a.jpg",
    ]  # fmt: skip


def test_an_empty_text_and_a_name_that_no_disk_takes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="an input is an empty text"):
        find_inputs([""])
    long = tmp_path / ("x" * 300)
    assert find_inputs([long]).paths == (long,)  # fails by name; the others go on


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("flight.txt", "\ufeffa.jpg\n\n sub/b.jpg \n{0}/c.jpg\n"),
        ("flight.CSV", "site,Image\nx,a.jpg\nx,sub/b.jpg\nx,{0}/c.jpg\n"),
        ("flight.csv", 'path;"note, long";site\na.jpg;1;\nsub/b.jpg;2;\n{0}/c.jpg;3;\na.jpg;1;\n'),
    ],
)
def test_a_list_names_photographs_from_where_it_lies(
    name: str, text: str, photo: Photo, tmp_path: Path
) -> None:
    box = tmp_path / "in"
    expected = tuple(photo(box / where) for where in ("a.jpg", "sub/b.jpg", "c.jpg"))
    (box / name).write_text(text.format(box), encoding="utf-8")
    assert find_inputs([box / name, box / "gone.jpg"]).paths == (*expected, box / "gone.jpg")
    assert find_inputs([box]).paths == tuple(sorted(expected))  # in a folder it is no input


def test_a_list_may_be_parquet(photo: Photo, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="extra cluster is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    first, second = photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg")
    file = tmp_path / "flight.parquet"
    parquet.write_table(pyarrow.table({"site": [1, 1], "image": ["b.jpg", str(first)]}), file)
    assert find_inputs([file]).paths == (second, first)
    parquet.write_table(pyarrow.table({"image": ["b.jpg", None]}), file)
    with pytest.raises(DataError, match="row 2, must name a photograph, got None"):
        find_inputs([file])
    parquet.write_table(pyarrow.table({"site": [1]}), file)
    with pytest.raises(DataError, match="must have a column `image` or `path`, got site"):
        find_inputs([file])
    file.write_bytes(b"no table")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        find_inputs([file])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("flight.txt", b"\n \n", "names no photograph"),
        ("flight.txt", b"a\0.jpg\n", "row 1, must name a photograph"),
        (
            "flight.txt",
            "Mauer\u00e4.jpg\n".encode("latin-1"),
            "it is no UTF-8 text .* save it as UTF-8",
        ),
        ("flight.csv", b"", "must have a column `image` or `path`, got none"),
        ("flight.csv", b"site,file\nx,a.jpg\n", "got site, file"),
        ("flight.csv", b"image,site\na.jpg,x\n,x\n", "row 2, must name a photograph, got ''"),
        ("flight.csv", b"site,image\nx\n", "line 2: it has 1 cells, and the head has 2 columns"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(
    name: str, content: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=reason):
        find_inputs([tmp_path / name])


def test_a_photograph_called_as_a_list_is_one(photo: Photo, tmp_path: Path) -> None:
    first = photo(tmp_path / "a.jpg").rename(tmp_path / "a.txt")
    assert find_inputs([first]).paths == (first,)
