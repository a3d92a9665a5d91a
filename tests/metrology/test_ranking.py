"""One order for every list: severity x certainty, with doubtful marks behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from crackseg.errors import ModelError
from crackseg.exports.tables import crack_to_dict
from crackseg.metrology import ranking
from crackseg.records import Certainty, Crack, Measure, Report

# Certainty by probability alone: 0.5 at 0.8, 0.88 at 0.9, 0.12 at 0.7.
CARD = Certainty(intercept=-16.0, weights={"probability": 20.0}, limit=0.4)


def crack(report: Report, length: float, width: float | None, probability: float) -> Crack:
    """Return a crack of the report with other measures."""
    wide = Measure(px=width, status="not_resolvable" if width is None else "measured")
    return replace(
        report.cracks[0],
        length=Measure(px=length),
        width_mean=wide,
        probability_mean=probability,
    )


def test_cracks_stand_by_severity_times_certainty(make_report: Callable[..., Report]) -> None:
    report = make_report()
    wide_and_doubtful = crack(report, 100, 30.0, 0.79)  # 3000 x 0.45
    long_and_certain = crack(report, 900, 2.0, 0.95)  # 1800 x 0.95
    short = crack(report, 50, 2.0, 0.95)
    ranked = ranking.rank([short, wide_and_doubtful, long_and_certain], CARD)
    assert [c.length.px for c in ranked] == [900, 100, 50]
    assert [c.id for c in ranked] == [1, 2, 3]


def test_doubtful_marks_stand_behind_however_wide(make_report: Callable[..., Report]) -> None:
    report = make_report()
    clamp, hair = crack(report, 200, 40.0, 0.7), crack(report, 40, 1.0, 0.9)
    ranked = ranking.rank([clamp, hair], CARD)
    assert [(c.length.px, c.section) for c in ranked] == [(40, "main"), (200, "also_marked")]
    assert ranked[0].certainty == 0.88  # of 0.8808: never rounded up
    sure = replace(CARD, intercept=20.0)  # next to 1, which every file would round up to
    assert ranking.rank([hair], sure)[0].certainty == 0.999


def test_without_a_card_nothing_is_doubtful(make_report: Callable[..., Report]) -> None:
    report = make_report()
    ranked = ranking.rank([crack(report, 40, 1.0, 0.1), crack(report, 400, 1.0, 0.1)], None)
    assert [(c.length.px, c.section, c.certainty) for c in ranked] == [
        (400, "main", None),
        (40, "main", None),
    ]


def test_a_crack_too_fine_for_a_width_counts_as_the_limit(
    make_report: Callable[..., Report],
) -> None:
    report = make_report()
    fine, wide = crack(report, 100, None, 0.9), crack(report, 100, 0.6, 0.9)
    assert [c.width_mean.px for c in ranking.rank([fine, wide], None)] == [0.6, None]
    assert ranking.weight(crack_to_dict(fine), "px") == pytest.approx(100 * ranking.FINE_PX)
    assert ranking.weight(crack_to_dict(fine), "mm") is None


def test_files_follow_the_order_of_the_report(make_report: Callable[..., Report]) -> None:
    report = make_report()
    lengths = (40.0, 300.0, 90.0, 1000.0)
    ranked = ranking.rank([crack(report, length, 2.0, 0.9) for length in lengths], CARD)
    rows = [crack_to_dict(c) for c in ranked]
    assert sorted(rows, key=ranking.place) == rows


def test_every_feature_is_a_number(make_report: Callable[..., Report]) -> None:
    bare = replace(
        make_report().cracks[0],
        length=Measure(px=0.0),
        paper_width_px=0.0,
        probability_mean=None,
        contrast=None,
    )
    for feature in ranking.FEATURES.values():
        assert abs(feature(bare)) < 20


@pytest.mark.parametrize("values", [{"intercept": float("nan")}, {"limit": 1.0}, {"limit": -0.1}])
def test_a_card_with_impossible_numbers_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="certainty"):
        Certainty(**{"intercept": 0.0, "weights": {}, "limit": 0.5} | values)
