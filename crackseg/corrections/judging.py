"""What inspectors say of single cracks becomes part of a report that leaves the house.

The network's own report is not touched: a judged one is made from it. Rejected cracks are left out,
or, where somebody asks for them, stand among the doubtful marks, in no figure; what was doubtful
and is accepted counts as a crack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from crackseg.metrology.ranking import in_order
from crackseg.metrology.totals import sum_up
from crackseg.records import Crack, Notice, Report, Verdict


def judge(
    report: Report, verdicts: Mapping[int, Verdict], *, with_rejected: bool = False
) -> Report:
    """Return a report with the verdicts of inspectors on its cracks.

    Args:
        report: as measured, or corrected.
        verdicts: number of a crack -> verdict; one of a crack that is not there is passed over.
        with_rejected: keep rejected cracks, under what is also marked.

    Returns:
        The report with its totals, order and a notice that says what was left out and by whom;
        numbers of cracks stay.
    """
    judged = [_judged(crack, verdicts.get(crack.id)) for crack in report.cracks]
    remaining = [crack for crack in judged if with_rejected or not _is_rejected(crack)]
    cracks = in_order(remaining)
    shape = (report.image.height_px, report.image.width_px)
    totals = sum_up(cracks, shape, report.totals.analyzed_px2, report.scale)
    notice = _notice([crack for crack in judged if _is_rejected(crack)], with_rejected)
    return replace(report, cracks=cracks, totals=totals, notices=(*report.notices, *notice))


def _judged(crack: Crack, verdict: Verdict | None) -> Crack:
    if verdict is None:
        return crack
    if verdict.word == "accepted":
        return replace(crack, verdict=verdict, section="main", certainty=1.0)
    if verdict.word == "rejected":
        return replace(crack, verdict=verdict, section="also_marked", certainty=0.0)
    return replace(crack, verdict=verdict)


def _is_rejected(crack: Crack) -> bool:
    return crack.verdict is not None and crack.verdict.word == "rejected"


def _notice(rejected: list[Crack], with_rejected: bool) -> list[Notice]:
    names = dict.fromkeys(crack.verdict.by for crack in rejected if crack.verdict is not None)
    if not names:
        return []
    count = "1 mark" if len(rejected) == 1 else f"{len(rejected)} marks"
    verb = "is" if len(rejected) == 1 else "are"
    where = "listed as doubtful" if with_rejected else "left out"
    text = f"{count} {verb} {where}, in no figure: rejected by {' and '.join(names)}."
    return [Notice(code="rejected", message=text)]
