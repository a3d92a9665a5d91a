"""Each kind of edit does what it says, keeps the totals true and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from walls import AT, BY, Wall, edit, rough

import crackseg.corrections.apply as module
from crackseg.corrections.apply import apply
from crackseg.corrections.edits import parse_edits
from crackseg.corrections.work import Memory
from crackseg.errors import DataError
from crackseg.exports import reading
from crackseg.exports.reading import read_report
from crackseg.exports.tables import other_line_to_dict, report_to_dict
from crackseg.imagery.files import open_image
from crackseg.records import Crack, Report


def corrected(wall: Wall, edits: Sequence[Any]) -> Report:
    with open_image(wall.photo) as image:
        return apply(read_report(wall.folder), image, parse_edits(edits, "test"))


def crack_near(report: Report, place: Any) -> Crack:
    return min(
        report.cracks,
        key=lambda crack: min(
            np.hypot(*(branch.centre_line - place).T).min() for branch in crack.branches
        ),
    )


def require_true_totals(report: Report) -> None:
    totals, main = report.totals, [c for c in report.cracks if c.section == "main"]
    assert totals.cracks == len(main)
    assert totals.length_px == pytest.approx(sum(c.length.px or 0 for c in main))
    assert totals.area_px2 == pytest.approx(sum(c.area_px2 or 0.0 for c in main))
    assert totals.length_mm == pytest.approx(sum(c.length.mm or 0 for c in main))
    ids = [crack.id for crack in report.cracks]
    assert len(set(ids)) == len(ids)


def test_nothing_is_changed_without_edits(wall: Wall) -> None:
    read = read_report(wall.folder)
    assert report_to_dict(corrected(wall, [])) == report_to_dict(read)
    assert report_to_dict(read) == json.loads((wall.folder / "report.json").read_text())


def test_a_missed_crack_is_drawn(wall: Wall) -> None:
    missed = wall.strokes[-1]
    before = read_report(wall.folder)
    report = corrected(wall, [edit(1, "draw", line=rough(missed, 4, np.random.default_rng(2)))])
    (new,) = [crack for crack in report.cracks if crack.correction]
    assert new.id == 3
    assert new.correction is not None
    assert (new.correction.change, new.correction.by, new.correction.at) == ("drawn", BY, AT)
    assert new.length.px == pytest.approx(missed.length_px, rel=0.02)
    assert new.length.mm == pytest.approx(0.5 * missed.length_px, rel=0.02)
    assert new.width_mean.px == pytest.approx(5.0, abs=0.3)
    assert {c.id: c.length for c in report.cracks if c.id < 3} == {
        c.id: c.length for c in before.cracks
    }
    assert report.corrections is not None
    assert report.corrections.replaced == ()
    assert [n.message for n in report.notices if n.code == "corrected"] == [
        "Corrected by hand by A. Meier: 1 drawn."
    ]
    require_true_totals(report)


def test_a_drawn_crack_is_drawn_otherwise_under_its_number(wall: Wall) -> None:
    missed = wall.strokes[-1]
    rng = np.random.default_rng(2)
    half = rough(missed, 4, rng)[:2]
    draw = edit(1, "draw", line=half)
    first = next(c for c in corrected(wall, [draw]).cracks if c.correction)
    place = first.branches[0].centre_line[5].round(1).tolist()
    moved = edit(2, "redraw", line=rough(missed, 4, rng), point=place)
    report = corrected(wall, [draw, moved])
    (crack,) = [crack for crack in report.cracks if crack.correction]
    assert crack.id == first.id
    assert crack.correction is not None
    assert (crack.correction.change, crack.correction.edits) == ("drawn", ("1", "2"))
    assert crack.length.px == pytest.approx(missed.length_px, rel=0.02)
    assert crack.length.px > 1.2 * (first.length.px or 0)
    assert crack.width_mean.px == pytest.approx(5.0, abs=0.3)
    require_true_totals(report)
    assert report_to_dict(report)["corrections"]["edits"][1]["point"] == place
    with pytest.raises(DataError, match=r"edit 2 \(redraw\): no crack lies within 12 px"):
        corrected(wall, [draw, edit(2, "redraw", line=half, point=[2, 2])])
    with pytest.raises(DataError, match="`point` must be"):
        corrected(wall, [edit(1, "redraw", line=half)])


@pytest.mark.parametrize("kind", ["other_line", "joint"])
def test_a_crack_is_another_line_and_back_in_place(wall: Wall, kind: str) -> None:
    before = read_report(wall.folder)
    stroke = wall.strokes[0]
    place = stroke.points[140].tolist()
    old = crack_near(before, stroke.points[140])
    away = corrected(wall, [edit(1, kind, point=place)])
    assert old.id not in {crack.id for crack in away.cracks}
    (line,) = (away.other_lines or ()) if kind == "other_line" else away.joints
    assert line.length == old.length
    words = {"other_line": "another line", "joint": "a joint"}[kind]
    assert away.notices[-1].message == f"Corrected by hand by A. Meier: 1 marked as {words}."
    require_true_totals(away)
    back = corrected(wall, [edit(1, kind, point=place), edit(2, "crack", point=place)])
    again = crack_near(back, stroke.points[140])
    assert (again.id, again.length, again.width_max) == (old.id, old.length, old.width_max)
    assert again.correction is not None
    assert again.correction.edits == ("1", "2")
    assert not back.other_lines
    assert back.joints == before.joints
    assert back.totals.cracks == before.totals.cracks
    assert back.totals.length_mm == pytest.approx(before.totals.length_mm, abs=1e-3)
    with pytest.raises(DataError, match="no joint or other line lies within 12 px"):
        corrected(wall, [edit(1, "crack", point=place)])


def test_another_line_of_the_network_is_a_crack_after_all(wall: Wall) -> None:
    read = read_report(wall.folder)
    stroke = wall.strokes[0]
    crack = crack_near(read, stroke.points[140])
    bare = reading._other_line({**other_line_to_dict(crack), "id": 1})  # as a report holds one
    aside = replace(read, cracks=tuple(c for c in read.cracks if c.id != crack.id),
                    other_lines=(bare,))  # fmt: skip
    turn = parse_edits([edit(1, "crack", point=stroke.points[140].tolist())], "test")
    with open_image(wall.photo) as image:
        report = apply(aside, image, turn)
    made = crack_near(report, stroke.points[140])
    assert made.id == max(c.id for c in aside.cracks) + 1
    assert made.length.px == pytest.approx(crack.length.px, rel=0.02)
    assert made.width_mean.px == pytest.approx(4.0, abs=0.3)
    assert made.section == "main"
    assert made.correction is not None
    assert (made.correction.change, report.other_lines) == ("corrected", ())
    require_true_totals(report)


def test_a_part_is_erased(wall: Wall) -> None:
    stroke = wall.strokes[0]
    row, col = stroke.points[150]
    area = [[row - 40, col - 30], [row - 40, col + 30], [row + 40, col + 30], [row + 40, col - 30]]
    before = read_report(wall.folder)
    report = corrected(wall, [edit(1, "erase", area=area)])
    whole = crack_near(before, stroke.points[20])
    pieces = [c for c in report.cracks if c.correction]
    assert len(pieces) == 2
    assert whole.id in {piece.id for piece in pieces}
    gone = (whole.length.px or 0) - sum(piece.length.px or 0 for piece in pieces)
    along = np.hypot(*np.diff(stroke.points[np.abs(stroke.points[:, 1] - col) <= 30], axis=0).T)
    assert gone == pytest.approx(along.sum(), abs=4)
    for piece in pieces:
        assert piece.width_mean.px == pytest.approx(4.0, abs=0.3)
        assert piece.certainty == whole.certainty
    assert report.corrections is not None
    (old,) = report.corrections.replaced
    assert (old.edit, old.crack.id, old.crack.length) == ("1", whole.id, whole.length)
    require_true_totals(report)


def test_all_of_a_crack_is_erased(wall: Wall) -> None:
    area = [[0, 0], [0, 559], [200, 559], [200, 0]]
    report = corrected(wall, [edit(1, "erase", area=area)])
    assert len(report.cracks) == 1
    assert report.corrections is not None
    assert len(report.corrections.replaced) == 1
    require_true_totals(report)


def test_split_and_joined_again_it_is_as_long(wall: Wall) -> None:
    stroke = wall.strokes[1]
    before = crack_near(read_report(wall.folder), stroke.points[20])
    cut = edit(1, "split", point=stroke.points[100].tolist())
    halves = corrected(wall, [cut])
    assert len(halves.cracks) == 3
    parts = [c.length.px or 0 for c in halves.cracks if c.correction]
    assert sum(parts) == pytest.approx(before.length.px, abs=1)
    assert min(parts) == pytest.approx(100, abs=4)
    require_true_totals(halves)
    line = [stroke.points[92].tolist(), stroke.points[108].tolist()]
    whole = corrected(wall, [cut, edit(2, "join", line=line)])
    assert len(whole.cracks) == 2
    joined = crack_near(whole, stroke.points[20])
    assert joined.length.px == pytest.approx(before.length.px, abs=2)
    assert joined.width_mean.px == pytest.approx(before.width_mean.px, abs=0.1)
    assert joined.id == before.id
    assert joined.correction is not None
    assert joined.correction.edits == ("1", "2")
    assert whole.corrections is not None
    assert [old.crack.id for old in whole.corrections.replaced] == [before.id]
    require_true_totals(whole)


def test_two_cracks_are_joined_by_a_way_that_is_not_dark(wall: Wall) -> None:
    first, second = wall.strokes[0], wall.strokes[1]
    line = [first.points[-1].tolist(), second.points[-1].tolist()]
    before = read_report(wall.folder)
    report = corrected(wall, [edit(1, "join", line=line, snap=False)])
    (crack,) = report.cracks
    gap = float(np.hypot(*(first.points[-1] - second.points[-1])))
    assert crack.joined_length.px == pytest.approx(gap, abs=6)
    assert crack.length.px == pytest.approx(
        sum(c.length.px or 0 for c in before.cracks) + gap, abs=8
    )
    assert crack.tips == 2
    assert report.corrections is not None
    assert [old.crack.id for old in report.corrections.replaced] == [1, 2]
    require_true_totals(report)


def test_a_branch_is_joined_to_a_side(wall: Wall) -> None:
    first, second = wall.strokes[0], wall.strokes[1]
    line = [first.points[-1].tolist(), second.points[150].tolist()]
    report = corrected(wall, [edit(1, "join", line=line, snap=False)])
    (crack,) = report.cracks
    assert (crack.tips, crack.junctions, crack.pattern) == (3, 1, "branching")


def test_a_joint_and_no_crack_leave_the_list(wall: Wall) -> None:
    points = [stroke.points[100].tolist() for stroke in wall.strokes[:2]]
    report = corrected(
        wall, [edit(1, "joint", point=points[0]), edit(2, "not_a_crack", point=points[1])]
    )
    assert report.cracks == ()
    (joint,) = report.joints
    assert joint.correction is not None
    assert joint.correction.change == "corrected"
    assert report.totals.cracks == 0
    assert report.totals.length_px == 0
    assert report.corrections is not None
    before = read_report(wall.folder)
    ids = [crack_near(before, point).id for point in points]
    gone = {old.edit: old.crack.id for old in report.corrections.replaced}
    assert gone == {"1": ids[0], "2": ids[1]}


@pytest.mark.parametrize("kind", ["ignore", "structure"])
def test_a_region_takes_area_and_cracks_out(wall: Wall, kind: str) -> None:
    upper = [[-0.5, -0.5], [-0.5, 559.5], [199.5, 559.5], [199.5, -0.5]]
    lower = [[200, -0.5], [200, 559.5], [519.5, 559.5], [519.5, -0.5]]
    report = corrected(wall, [edit(1, kind, area=upper if kind == "ignore" else lower)])
    assert len(report.cracks) == 1
    assert report.totals.analyzed_px2 == pytest.approx(320 * 560, abs=2 * 560)
    assert report.totals.left_out_px2 == pytest.approx(200 * 560, abs=2 * 560)
    assert report.totals.density_m_per_m2 == pytest.approx(
        1000 * (report.totals.length_mm or 0) / (report.totals.analyzed_mm2 or 1)
    )
    assert len(report.left_out) == 1
    (share,) = [part.share for part in report.unjudged if part.code == "left_out"]
    assert share == pytest.approx(200 / 520, abs=0.01)
    (notice,) = [notice.message for notice in report.notices if notice.code == "corrected"]
    left_out = f"{100 * share:.0f} % of the picture left out, where nothing is known of cracks."
    assert notice == f"Corrected by hand by {BY}: 1 taken off the list or joined, {left_out}"
    require_true_totals(report)


def test_dropping_the_last_edit_undoes_it(wall: Wall) -> None:
    cut = edit(1, "split", point=wall.strokes[0].points[90].tolist())
    more = edit(2, "not_a_crack", point=wall.strokes[0].points[200].tolist())
    assert len(corrected(wall, [cut, more]).cracks) == 2
    assert len(corrected(wall, [cut]).cracks) == 3


def test_a_drawn_crack_is_erased_in_part_and_stays_drawn(wall: Wall) -> None:
    missed = wall.strokes[-1]
    line = rough(missed, 4, np.random.default_rng(2))
    row, col = missed.points[-1]
    area = [[row - 60, col - 80], [row - 60, col + 40], [row + 60, col + 40], [row + 60, col - 80]]
    report = corrected(wall, [edit(1, "draw", line=line), edit(2, "erase", area=area)])
    (crack,) = [c for c in report.cracks if c.correction]
    assert crack.correction is not None
    assert crack.correction.change == "drawn"
    assert crack.correction.edits == ("1", "2")
    rest = missed.points[missed.points[:, 1] < col - 80]
    length = np.hypot(*np.diff(rest, axis=0).T).sum()
    assert crack.length.px == pytest.approx(length, rel=0.03)
    assert report.corrections is not None
    assert report.corrections.replaced == ()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (edit(1, "split", point=[260, 300]), "no crack lies within 12 px of row 260, column 300"),
        (edit(1, "draw", line=[[10, 10], [10, 900]]), "leaves the picture of 520 x 560 px"),
        (edit(1, "erase", area=[[5, 5], [5, 9], [9, 9]]), "no crack lies in the area"),
        (edit(1, "structure", area=[[-9, -9], [-9, -5], [-5, -5]]), "covers nothing"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(wall: Wall, wrong: Any, why: str) -> None:
    with pytest.raises(DataError, match="edit 1 ") as error:
        corrected(wall, [wrong])
    assert why in str(error.value)


def test_a_join_needs_two_cracks(wall: Wall) -> None:
    line = [wall.strokes[0].points[20].tolist(), wall.strokes[0].points[200].tolist()]
    with pytest.raises(DataError, match="both ends lie on crack"):
        corrected(wall, [edit(1, "join", line=line)])


def test_an_oblique_scale_measures_a_drawn_crack_where_it_lies(
    make_wall: Callable[..., Wall],
) -> None:
    corners = ((0.0, 0.0, 0.0, 0.0), (0.0, 559.0, 0.0, 300.0), (519.0, 0.0, 260.0, 0.0))
    points = (*corners, (519.0, 559.0, 260.0, 420.0))
    wall = make_wall(mm_per_px=None, reference_points=points)
    missed = wall.strokes[-1]
    report = corrected(wall, [edit(1, "draw", line=rough(missed, 4, np.random.default_rng(2)))])
    (crack,) = [c for c in report.cracks if c.correction]
    assert report.scale is not None
    assert report.scale.homography is not None
    true = np.hypot(*np.diff(report.scale.to_mm(missed.points), axis=0).T).sum()
    assert crack.length.mm == pytest.approx(true, rel=0.02)


def test_edits_of_another_analysis_are_done_as_far_as_they_mean_something(wall: Wall) -> None:
    lost = edit(1, "split", point=[260, 300])
    meant = edit(2, "split", point=wall.strokes[0].points[90].tolist())
    with open_image(wall.photo) as image:
        edits = parse_edits([lost, meant], "test")
        report = apply(read_report(wall.folder), image, edits, skip=True)
    assert len(report.cracks) == 3
    assert report.corrections is not None
    assert [stored["id"] for stored in report.corrections.edits] == ["2"]
    (message,) = (n.message for n in report.notices if n.code == "corrections_left_out")
    assert "1 edit was made on an earlier analysis and left out" in message
    assert "split by" in message
    assert "at row 260, column 300" in message


def test_what_is_remembered_changes_nothing(wall: Wall) -> None:
    """Edit after edit with a memory is as all at once, also after an undo and a region."""
    stroke, missed = wall.strokes[0], wall.strokes[-1]
    area = [[0, 0], [0, 300], [200, 300], [200, 0]]
    edits = [
        edit(1, "draw", line=rough(missed, 4, np.random.default_rng(2))),
        edit(2, "split", point=stroke.points[140].tolist()),
        edit(3, "ignore", area=area),
        edit(4, "other_line", point=missed.points[100].tolist()),
        edit(5, "crack", point=missed.points[100].tolist()),
    ]
    memory = Memory()
    memory.about("this result")

    def remembered(some: list[Any]) -> Report:
        with open_image(wall.photo) as image:
            return apply(read_report(wall.folder), image, parse_edits(some, "t"), memory=memory)

    for count in (1, 2, 3, 2, 5, 4):
        report = remembered(edits[:count])
        assert report_to_dict(report) == report_to_dict(corrected(wall, edits[:count])), count
    traced: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "trace", lambda *_: traced.append(1))
        remembered(edits)
    assert traced == []
    memory.about("another result")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "trace", lambda *_: traced.append(1) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            remembered(edits)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ([[10, 10], [10, 3100]], "3090 px apart; expected 3000 at most"),
        ([[10, 10], [10, 2900]] * 10, "px long; expected 40000 at most"),
    ],
)
def test_a_search_without_end_is_refused(line: list[list[float]], why: str) -> None:
    with pytest.raises(DataError, match=why):
        module._require_short(np.array(line, float), snaps=True)


def test_a_report_of_before_the_area_of_the_mask_had_a_name_is_read(wall: Wall) -> None:
    path = wall.folder / "report.json"
    now = read_report(wall.folder)
    values = json.loads(path.read_text(encoding="utf-8"))
    for crack in [*values["cracks"], *values["joints"]]:
        crack["area_px2"] = crack.pop("mask_area_px2")  # as releases up to 0.5.0 wrote it
    path.write_text(json.dumps(values), encoding="utf-8")
    for old, new in zip(read_report(wall.folder).cracks, now.cracks, strict=True):
        assert old.mask_area_px2 == new.mask_area_px2
        assert old.area_px2 == pytest.approx(new.area_px2, rel=1e-3)
        assert old.area_mm2 == pytest.approx(new.area_mm2, rel=1e-3)
