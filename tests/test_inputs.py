"""Every photograph is handed on or named; what is no photograph stays silent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crackseg.errors import ConfigError, DataError
from crackseg.folders import filling
from crackseg.inputs import find_inputs

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
    photo(tmp_path / "@eaDir" / "a.jpg")
    photo(tmp_path / "__MACOSX" / "a.jpg")
    assert find_inputs([tmp_path]).paths == (first,)
    assert find_inputs([tmp_path]).passed == ()


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
