"""Files that the program did not make are never replaced or removed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crackseg import folder_names, folders
from crackseg.errors import ConfigError, OutputError
from crackseg.folder_names import FolderNames, choose_folder
from crackseg.folders import (
    MARK,
    clear_leftovers,
    filling,
    holds_keys,
    origin_of,
    read_figures,
    read_mark,
    refuse_beside,
    refuse_unless,
    require_new,
)


def fill(folder: Path, **files: str) -> None:
    with filling(folder, origin="o", content="c") as fresh:
        for name, text in files.items():
            (fresh / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir() if p.name != MARK}


def test_own_files_are_replaced_or_removed_and_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "wall"
    fill(folder, a="1", b="1")
    (folder / "notes").write_text("mine")
    (folder / "photos").mkdir()
    fill(folder, a="2", c="2")
    assert {p.name for p in folder.iterdir()} == {MARK, "a", "c", "notes", "photos"}
    assert (folder / "a").read_text() == "2"
    assert [p.name for p in tmp_path.iterdir()] == ["wall"]
    mark = read_mark(folder)
    assert mark is not None
    assert mark.complete
    assert set(mark.files) == {"a", "c"}


def test_a_file_that_was_changed_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "wall"
    fill(folder, mask="1", table="1")
    (folder / "mask").write_text("corrected by hand")
    with pytest.raises(OutputError, match=r"mask` was changed since crackseg wrote it"):
        fill(folder, mask="2", table="2")
    assert content(folder) == {"mask": "corrected by hand", "table": "1"}
    fill(folder, table="3")  # the mask is not written now: it stays
    assert content(folder) == {"mask": "corrected by hand", "table": "3"}


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link"])
def test_what_stands_in_the_way_stays(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "wall"
    fill(folder, table="1")
    other = folder / "page"
    if kind == "file":
        other.write_text("mine")
    elif kind == "folder":
        other.mkdir()
    else:
        other.symlink_to(folder / "table" if kind == "link" else tmp_path / "away")
    with pytest.raises(OutputError, match="was not written by crackseg"):
        fill(folder, table="2", page="2")
    assert os.path.lexists(other)
    assert (folder / "table").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["wall"]


def test_a_link_in_place_of_an_own_file_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "wall"
    fill(folder, table="1")
    mine = tmp_path / "mine"
    mine.write_text("1")
    (folder / "table").unlink()
    (folder / "table").symlink_to(mine)
    with pytest.raises(OutputError, match="was changed"):
        fill(folder, table="2")
    assert mine.read_text() == "1"


def test_a_file_or_a_mark_of_others_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "wall").write_text("mine")
    with pytest.raises(OutputError, match="not a folder"):
        fill(tmp_path / "wall", table="1")
    assert (tmp_path / "wall").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / MARK).write_text("mine")
    with pytest.raises(OutputError, match=r"\.crackseg` was not written"):
        fill(tmp_path / "other", table="1")
    assert (tmp_path / "other" / MARK).read_text() == "mine"


@pytest.mark.parametrize("after", range(6))
def test_a_kill_while_files_are_replaced_is_made_good_by_the_next_run(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "wall"
    fill(folder, a="1", b="1", c="1")
    (folder / "notes").write_text("mine")
    plain, left = Path.replace, [after]

    def replace(self: Path, target: Path) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    stopped = False
    try:
        fill(folder, a="2", b="2", d="2")
    except KeyboardInterrupt:
        stopped = True
    monkeypatch.undo()
    mark = read_mark(folder)
    assert mark is not None
    assert mark.complete == (not stopped or after == 0)
    assert (folder / "notes").read_text() == "mine"
    fill(folder, a="3", d="3")
    assert content(folder) == {"a": "3", "d": "3", "notes": "mine"}


def test_leftovers_of_a_killed_run_go_and_those_in_use_stay(tmp_path: Path) -> None:
    mine = tmp_path / ".crackseg-1234abcd"
    mine.mkdir()
    (mine / "notes").write_text("no mark: not made by the program")
    dead = tmp_path / ".crackseg-dead0000"
    dead.mkdir()
    (dead / MARK).touch()
    with filling(tmp_path / "wall") as fresh:
        (fresh / "a").write_text("1")
        clear_leftovers(tmp_path)
        assert fresh.is_dir()
    assert {p.name for p in tmp_path.iterdir()} == {"wall", ".crackseg-1234abcd"}


def test_names_that_differ_by_case_or_form_are_one(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    first = choose_folder(tmp_path, tmp_path / "in" / "Wall.jpg", "1")
    names = FolderNames(tmp_path)
    names.take(first.name)
    second = choose_folder(tmp_path, tmp_path / "in" / "wall.jpg", "2", names=names)
    assert (first.name, second.name) == ("Wall", "in_wall")
    composed, apart = "Gr\u00fcn", "Gru\u0308n"
    names.take(composed)
    assert choose_folder(tmp_path, Path(f"{apart}.jpg"), "3", names=names).name != apart


def test_a_folder_of_others_is_left_for_the_next_name(tmp_path: Path) -> None:
    path = tmp_path / "in" / "lift.png"
    (tmp_path / "lift").mkdir()
    (tmp_path / "lift" / "report.json").write_text(json.dumps({"image": {"path": str(path)}}))
    assert choose_folder(tmp_path, path, "1").name == "in_lift"
    (tmp_path / "IN_LIFT").write_text("a file")
    assert choose_folder(tmp_path, path, "1").name == "lift_png"
    (tmp_path / "lift_png").symlink_to(tmp_path / "away")
    assert choose_folder(tmp_path, path, "1").name == "lift_2"


def test_results_are_found_again_after_other_names_became_free(tmp_path: Path) -> None:
    path = tmp_path / "in" / "lift.png"
    with filling(tmp_path / "lift_png", origin=origin_of(path), content="1") as fresh:
        (fresh / "report.json").write_text("{}")
    assert choose_folder(tmp_path, path, "2").name == "lift_png"


def test_equal_content_under_another_path_is_another_file_while_the_first_is_there(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"
    first.parent.mkdir()
    first.touch()
    with filling(tmp_path / "x", origin=origin_of(first), content="1") as fresh:
        (fresh / "report.json").write_text(json.dumps({"image": {"path": str(first)}}))
    assert choose_folder(tmp_path, second, "1").name == "b_x"
    first.unlink()  # moved
    assert choose_folder(tmp_path, second, "1").name == "x"


def test_a_name_too_long_for_the_disk_is_left_out(tmp_path: Path) -> None:
    long = "w" * 250
    names = FolderNames(tmp_path, [long])
    chosen = choose_folder(tmp_path, Path(f"{long}.png"), "1", names=names).name
    assert chosen != f"_{long}"
    assert len(chosen) <= 255


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": []}', '{"files": {"a": 1}}'])
def test_a_mark_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / MARK).write_text(text)
    assert read_mark(tmp_path) is None


def test_a_new_folder_is_open_to_others(tmp_path: Path, make_folder: Callable[[], int]) -> None:
    fill(tmp_path / "wall", a="1")
    assert (tmp_path / "wall").stat().st_mode & 0o777 == make_folder()


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[[], int]:
    """A function that makes a plain folder and returns its permissions."""

    def make() -> int:
        (tmp_path / "plain").mkdir()
        return (tmp_path / "plain").stat().st_mode & 0o777

    return make


def test_without_locks_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "lock", lambda stream: True)
    fill(tmp_path / "wall", a="1")
    assert content(tmp_path / "wall") == {"a": "1"}


def test_a_set_goes_into_a_new_folder_alone(tmp_path: Path) -> None:
    require_new(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    require_new(tmp_path / "empty")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("set", "file"):
        with pytest.raises(OutputError, match="is there and not empty"):
            require_new(tmp_path / name)


@pytest.mark.parametrize("content", [b"photograph \xff", b"[1]", b"", b"text", b'{"type": 1}'])
def test_figures_replace_figures_alone(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    is_own = holds_keys("sets", "f1 iou")
    refuse_unless(file, is_own, "figures")
    file.write_bytes(content)
    with pytest.raises(OutputError, match="holds no figures"):
        refuse_unless(file, is_own, "figures")
    for own in ('{"f1": 1, "iou": 1}', '{"sets": {}}'):
        file.write_text(own)
        refuse_unless(file, is_own, "figures")


def test_what_goes_with_a_page_is_ours_where_the_page_is(tmp_path: Path) -> None:
    page, plot = tmp_path / "page.md", tmp_path / "plot.png"

    def check() -> None:
        refuse_beside(page, lambda text: text.startswith("# Ours"), "page of ours", plot.name)

    check()
    plot.write_bytes(b"a plot of somebody else")
    with pytest.raises(OutputError, match=r"plot\.png` is there without `page\.md`"):
        check()
    page.write_text("# Ours")
    check()
    page.write_text("# Theirs")
    with pytest.raises(OutputError, match=r"page\.md` is there and holds no page of ours"):
        check()


@pytest.mark.parametrize("content", [b"a photograph \xff", b"[1]", b"", b"text"])
def test_figures_that_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"scores\.json` (is not JSON|must hold a JSON object)"):
        read_figures(tmp_path / "scores.json")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_figures(tmp_path)


def test_a_name_that_an_old_locale_cannot_hold_still_gives_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_names.sys, "getfilesystemencoding", lambda: "ascii")
    path = tmp_path / "Mauer_ß_壁.jpg"
    assert choose_folder(tmp_path, path, "1").name == "Mauer____"
    (tmp_path / "Mauer____").mkdir()
    assert choose_folder(tmp_path, path, "1").name.isascii()
