"""A gathered survey becomes what its report says: sentences, figures and tables in words.

The page and the PDF are two forms of this one content. What could not be judged, and why, comes
before any figure: silence about a photograph would read as "no crack there".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crackseg.detection import UNTESTED
from crackseg.exports import wording
from crackseg.exports.survey import FAILED, NOT_REACHED
from crackseg.reporting import cells, sums
from crackseg.reporting.about import head_facts, missing_facts, record_rows
from crackseg.reporting.gather import (
    ANALYZED,
    COPY,
    NOT_JUDGED,
    Gathered,
    Photograph,
    SurveyCrack,
)
from crackseg.reporting.on_face import each_once, map_sentences, on_map
from crackseg.reporting.pictures import CloseUp, close_up, thumb
from crackseg.reporting.plan import FARTHEST_M, Plan, draw_plan, spread_m
from crackseg.words import Words

WORST = 10
NAMED = 40  # photographs that a sentence names; the others are in the tables
REMARKS = {"short_pieces_dropped", "scaled_to_8_bit", "screened", "no_scale", "cannot_be_judged",
           "partly_judged", "fewer_found"}  # fmt: skip  # said elsewhere, or of no weight
MOST_THUMBS = 600  # of 5 kB each: more make a page that no mail carries
WEIGHTS = {"number": 3.5, "image": 14, "crack": 5.5, "length": 8, "certainty": 8, "place": 10,
           "count": 6, "taken": 9, "position": 10, "source": 9, "others": 7, "remarks": 11,
           "note": 9, "warnings": 11, "direction": 8.5, "scale": 6.5}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table in words; ``rows`` hold as many cells as ``heading``."""

    title: str
    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    weights: tuple[float, ...]  # of the widths of its columns on paper
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A sentence and what it is about."""

    sentence: str
    items: tuple[str, ...] = ()
    more: int = 0  # items that are not listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """One of the worst cracks: its figures and its pictures."""

    number: int
    crack: SurveyCrack
    width: str
    facts: tuple[tuple[str, str], ...]
    pictures: CloseUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Everything a report says."""

    words: Words
    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    missing: str
    lead: tuple[str, ...]
    findings: tuple[Finding, ...]  # what could not be judged
    detection: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]  # value and what it is
    worst: tuple[Worst, ...]
    groups: tuple[Table, ...]
    plan: Plan | None
    plan_notes: tuple[str, ...]
    photographs: Table
    cracks: Table
    doubtful: Table
    rejected: Table
    method: tuple[str, ...]
    record: tuple[tuple[str, str], ...]
    thumbs: Mapping[int, bytes]  # JPEG of a photograph by its number
    gathered: Gathered = field(repr=False)


def compose(
    gathered: Gathered, words: Words, photographs: Path | None = None, *, pictures: bool = True
) -> Content:
    """Return what a report of a survey says.

    Args:
        gathered: from ``gather``.
        words: the language.
        photographs: folder to look for photographs in, for the close-ups.
        pictures: False: without close-ups and thumbnails.
    """
    survey, figures = gathered.survey, sums.sum_up(gathered)
    plan = draw_plan(gathered)
    return Content(
        words=words,
        title=survey.title or words("general.title"),
        subtitle=", ".join(filter(None, (survey.dam, survey.part))),
        facts=tuple(head_facts(gathered, words)),
        missing=missing_facts(survey, words),
        lead=tuple(_lead(gathered, figures, words)),
        findings=tuple(_findings(gathered, words)),
        detection=tuple(_detection(gathered, figures, words)),
        figures=tuple(_figures(gathered, figures, words)),
        worst=tuple(
            _worst(number, crack, gathered, words, photographs)
            for number, crack in enumerate(each_once(gathered, WORST) if pictures else (), start=1)
        ),
        groups=tuple(_groups(gathered, words)),
        plan=plan,
        plan_notes=tuple(_plan_notes(gathered, plan, words)),
        photographs=_photographs(gathered, words),
        cracks=_cracks("cracks", gathered.cracks, words),
        doubtful=_cracks("doubtful", gathered.doubtful, words),
        rejected=_cracks("rejected", gathered.rejected, words),
        method=_method(gathered, words),
        record=tuple(record_rows(gathered, words)),
        thumbs=_thumbs(gathered) if pictures else {},
        gathered=gathered,
    )


def _lead(gathered: Gathered, figures: sums.Sums, words: Words) -> Iterable[str]:
    """Yield what was seen and found, in sentences."""
    readable = [p for p in gathered.photographs if p.folder and p.status != COPY]
    if not readable:
        yield words("lead.nothing_analyzed")
        return
    area = figures.analyzed_mm2
    on = "" if area is None else words("lead.area", area=words.figures(area / 1e6))
    yield f"{words('lead.seen', n=len(readable))}{on}."
    if gathered.cracks:
        holders = len({crack.photograph.number for crack in gathered.cracks})
        photos = words("general.photographs", n=holders)
        yield words("lead.found", n=len(gathered.cracks), photos=photos)
        yield _worst_sentence(gathered.cracks[0], words)
    else:
        yield words("lead.nothing")
    for part, key in ((gathered.doubtful, "lead.doubtful"), (gathered.rejected, "lead.rejected")):
        if part:
            yield words(key, n=len(part))
    yield from _other_lines(readable, words)
    if len(readable) > 1:
        yield words("lead.overlap")
    yield from map_sentences(gathered, words)


def _other_lines(photographs: Sequence[Photograph], words: Words) -> Iterable[str]:
    """Yield that dark lines were taken for no crack: some cracks run as straight as a joint."""
    sums_of_lines = [p.others for p in photographs if p.others is not None and p.others.count]
    if not sums_of_lines:
        return
    parts = []
    if any(others.length_mm is not None for others in sums_of_lines):
        parts.append(cells.metres(sum(others.length_mm or 0.0 for others in sums_of_lines), words))
    if px := sum(others.length_px for others in sums_of_lines if others.length_mm is None):
        parts.append(f"{words.number(px)} px")
    count = sum(others.count for others in sums_of_lines)
    yield words("lead.others", n=count, length=" + ".join(parts))


def _thumbs(gathered: Gathered) -> dict[int, bytes]:
    """Return small pictures of the photographs: first of those that show something to look at."""
    with_cracks = {crack.photograph.number for crack in gathered.cracks}
    ranked = sorted(
        (p for p in gathered.photographs if p.folder),
        key=lambda p: (p.status != NOT_JUDGED, p.number not in with_cracks, p.number),
    )
    made = ((p.number, thumb(p)) for p in ranked[:MOST_THUMBS])
    return {number: jpeg for number, jpeg in made if jpeg is not None}


def _worst_sentence(crack: SurveyCrack, words: Words) -> str:
    length, width = (
        words.length(crack.measure("length")),
        words.measured(crack.measure("width_max")),
    )
    worst = words("lead.worst", length=length, width=width, image=crack.photograph.name)
    return f"{worst} {words('lead.no_wall')}" if crack.photograph.may_show_no_wall else worst


def _findings(gathered: Gathered, words: Words) -> Iterable[Finding]:
    """Yield what could not be judged, and why."""
    failed, unjudged = gathered.of_status(FAILED), gathered.of_status(NOT_JUDGED)
    not_reached = gathered.of_status(NOT_REACHED)
    partly = [p for p in gathered.photographs if p.status == ANALYZED and p.unjudged]
    copies = len(gathered.of_status(COPY))
    unscaled = [
        p for p in gathered.photographs if p.folder and p.status != COPY and p.scale is None
    ]
    if not failed and not unjudged and not not_reached:
        yield Finding(sentence=words("judged.all_in_part" if partly else "judged.all"))
    if failed:
        reasons = [f"{p.name}: {words.sentence(p.reason)}" for p in failed]
        yield _finding(words("judged.failed", n=len(failed)), reasons)
    if not_reached:
        names = [p.name for p in not_reached]
        yield _finding(words("judged.not_reached", n=len(names)), names)
    for key, group in (("judged.not_judged", unjudged), ("judged.partly", partly)):
        if group:
            shares = [f"{p.name}: {cells.unjudged(p, words)}" for p in group]
            yield _finding(words(key, n=len(group)), shares)
    if impaired := [p for p in gathered.photographs if p.is_impaired and p.status != COPY]:
        shares = [f"{p.name}: {cells.shares(p.impaired, words)}" for p in impaired]
        yield _finding(words("judged.impaired", n=len(impaired)), shares)
    if unscaled:
        all_of_them = (
            len(unscaled) == sum(p.folder is not None for p in gathered.photographs) - copies
        )
        names = [] if all_of_them else [p.name for p in unscaled]
        yield _finding(words("judged.no_scale", n=len(unscaled)), names)
    if gathered.passed_over:
        passed_over = [
            f"{Path(item['path']).name}: {words.sentence(item['reason'])}"
            for item in gathered.passed_over
        ]
        yield _finding(words("judged.passed_over", n=len(passed_over)), passed_over)
    if copies:
        same = [
            words("judged.copy_of", name=p.name, other=p.copy_of) for p in gathered.of_status(COPY)
        ]
        yield _finding(words("judged.copies", n=copies), same)
    warned = _warned([p for p in gathered.photographs if p.status != COPY], words)
    if warned:
        yield _finding(words("judged.warnings"), warned)
    yield Finding(sentence=words("judged.no_wall"))
    yield Finding(sentence=words("judged.depth"))


def _finding(sentence: str, items: Sequence[str]) -> Finding:
    return Finding(sentence=sentence, items=tuple(items[:NAMED]), more=max(len(items) - NAMED, 0))


def _warned(photographs: Sequence[Photograph], words: Words) -> list[str]:
    """Return each kind of warning with the photographs that have it."""
    names: dict[str, list[str]] = {}
    for photograph in photographs:
        for code in dict.fromkeys(notice["code"] for notice in photograph.notices):
            if code not in REMARKS:
                names.setdefault(code, []).append(photograph.name)
    return [
        f"{words.code('notice', code)}: {', '.join(n[:5])}{' …' if len(n) > 5 else ''} ({len(n)})"
        for code, n in names.items()
    ]


def _detection(gathered: Gathered, figures: sums.Sums, words: Words) -> Iterable[str]:
    """Yield what one pixel covers and from which width on cracks are found, where it is known."""
    if figures.mm_per_px is None:
        yield words("detection.no_scale")
    else:
        low, middle, high = (words.figures(value) for value in figures.mm_per_px)
        key = "detection.one_scale" if low == high else "detection.scales"
        yield words(key, low=low, median=middle, high=high)
    limits = [p.detection for p in gathered.photographs if p.detection]
    yield from _detection_limits(limits, words)


def _detection_limits(limits: Sequence[Mapping[str, Any]], words: Words) -> Iterable[str]:
    """Yield from which width on cracks are found, none of the widths rounded down.

    Where the reports know shares by width alone, their own sentence is quoted.
    """
    mm = [limit["width_90_mm"] for limit in limits if limit.get("width_90_mm") is not None]
    px = [limit["width_90_px"] for limit in limits if limit.get("width_90_px") is not None]
    if mm:
        low, high = (wording.upper_bound(v).replace(".", words.decimal) for v in (min(mm), max(mm)))
        yield words("detection.one" if low == high else "detection.known", low=low, high=high)
    if len(mm) < len(px):
        width = wording.upper_bound(max(px)).replace(".", words.decimal)
        yield words("detection.pixels" if mm else "detection.pixels_alone", px=width)
    texts = {limit["text"] for limit in limits} - {UNTESTED}
    if texts and not px:
        yield words.sentence(min(texts))
    elif not px:
        yield words("detection.unknown")


def _figures(gathered: Gathered, figures: sums.Sums, words: Words) -> Iterable[tuple[str, str]]:
    """Yield the figures of the main list: value and what it is."""
    yield str(figures.cracks), words("summary.cracks")
    if figures.length_mm is not None:
        yield f"{words.number(figures.length_mm / 1000, 2)} m", words("summary.length")
    if figures.length_px:
        yield f"{words.number(figures.length_px)} px", words("summary.length_px")
    if figures.density_m_per_m2 is not None:
        yield f"{words.number(figures.density_m_per_m2, 3)} m/m²", words("summary.density")
    if figures.analyzed_mm2 is not None:
        yield f"{words.figures(figures.analyzed_mm2 / 1e6)} m²", words("summary.seen")
    if figures.area_mm2 is not None:
        yield f"{words.figures(figures.area_mm2 / 100)} cm²", words("summary.area")
    if figures.widest is not None:
        yield words.measured(figures.widest.measure("width_max")), words("summary.widest")
    if gathered.doubtful:
        yield str(len(gathered.doubtful)), words("summary.doubtful")


def _worst(
    number: int, crack: SurveyCrack, gathered: Gathered, words: Words, photographs: Path | None
) -> Worst:
    facts = [
        (words("table.image"), crack.photograph.name),
        (words("table.crack"), str(crack.id)),
        (words("table.length"), words.length(crack.measure("length"))),
        (words("table.width_max"), words.measured(crack.measure("width_max"))),
        (words("table.width_p95"), words.measured(crack.measure("width_p95"))),
        (words("table.width_mean"), words.measured(crack.measure("width_mean"))),
        (words("table.certainty"), cells.certainty(crack, words)),
        (words("table.direction"), cells.direction(crack, words)),
        (words("table.place"), cells.place(crack, words)),
        (words("table.on_map"), on_map(crack, gathered.face, words)),
        (words("table.remarks"), cells.flags(crack, words)),
        (words("table.verdict"), cells.verdict(crack, words)),
        (words("table.note"), crack.note),
    ]
    return Worst(
        number=number,
        crack=crack,
        width=words.measured(crack.measure("width_max")),
        facts=tuple((label, value) for label, value in facts if value),
        pictures=close_up(crack, photographs),
    )


def _groups(gathered: Gathered, words: Words) -> Iterable[Table]:
    """Yield the tables by width, limit, direction and certainty; nothing without a crack."""
    cracks, bins = gathered.cracks, gathered.survey.widths
    if not cracks:
        return
    document = bins.document or words("bins.default")
    scaled = any(crack.length_mm is not None for crack in cracks)
    widths = [g for g in sums.by_width(cracks, bins) if g.cracks or (scaled and g.name.isdigit())]
    named = ((cells.bin_name(group.name, bins, words), group) for group in widths)
    yield _group_table("bins", "width_class", named, words("bins.note", document=document), words)
    over = sums.over_limits(cracks, bins)
    if over:
        yield _limits(over, words)
    unscaled = sum(crack.length_mm is None for crack in cracks)
    foot = f" {words('groups.unscaled', n=unscaled)}" if scaled and unscaled else ""
    directions = ((words(f"direction.{g.name}"), g) for g in sums.by_direction(cracks))
    note = words("direction.note") + foot
    yield _group_table("orientation", "direction", directions, note, words)
    sure = [g for g in sums.by_certainty(cracks) if g.cracks]
    certain = ((cells.certainty_group(g.name, words), g) for g in sure)
    note = words("certainty.note") + foot
    yield _group_table("certainty", "certainty", certain, note, words)


def _group_table(
    title: str, column: str, groups: Iterable[tuple[str, sums.Group]], note: str, words: Words
) -> Table:
    rows = (
        (name, str(g.cracks), cells.group_length(g, words), cells.share(g.share, words))
        for name, g in groups
    )
    heading = [words(f"table.{name}") for name in (column, "count", "length", "share")]
    return Table(
        title=words(f"section.{title}"),
        heading=tuple(heading),
        rows=tuple(rows),
        note=note,
        weights=(2.0, 1.0, 1.0, 1.0),
    )


def _limits(over: Sequence[sums.OverLimit], words: Words) -> Table:
    heading = [words(f"table.{name}") for name in ("limit", "by_value", "surely", "possibly")]
    rows = (
        (
            words("bins.over", low=words.number(limit.limit_mm, 2)),
            *(cells.share(part, words) for part in (limit.by_value, limit.surely, limit.possibly)),
        )
        for limit in over
    )
    title = words("section.limits")
    return Table(
        title=title, heading=tuple(heading), rows=tuple(rows), note=words("limits.note"),
        weights=(2.0, 1.0, 1.0, 1.0),
    )  # fmt: skip


def _plan_notes(gathered: Gathered, plan: Plan | None, words: Words) -> Iterable[str]:
    if plan is None:
        apart = spread_m(gathered)
        far = words("map.far", km=words.figures(apart / 1000, 2))
        yield far if apart > FARTHEST_M else words("map.none")
        return
    yield words("map.face" if plan.is_face else "map.plan")
    yield words("map.legend")
    if plan.without:
        yield words("map.without", n=plan.without)


def _photographs(gathered: Gathered, words: Words) -> Table:
    names = ("number", "image", "taken", "position", "scale", "source", "judged", "count", "length",
             "widest", "others", "warnings")  # fmt: skip
    return _filled(
        "photographs", names, (cells.photograph(p, words) for p in gathered.photographs), words
    )


def _cracks(title: str, cracks: Sequence[SurveyCrack], words: Words) -> Table:
    names = ("number", "image", "crack", "length", "width_mean", "width_p95", "width_max",
             "certainty", "direction", "place", "remarks", "verdict", "note")  # fmt: skip
    rows = (cells.crack(n, crack, words) for n, crack in enumerate(cracks, start=1))
    return _filled(title, names, rows, words)


def _filled(title: str, names: Sequence[str], rows: Iterable[Sequence[str]], words: Words) -> Table:
    """Return a table without the columns that have nothing to say."""
    everything = list(rows)
    used = [
        n for n in range(len(names)) if n < 2 or any(row[n] not in ("", "–") for row in everything)
    ]
    return Table(
        title=words(f"section.{title}"),
        heading=tuple(words(f"table.{names[n]}") for n in used),
        rows=tuple(tuple(row[n] for n in used) for row in everything),
        weights=tuple(WEIGHTS.get(names[n], 9.0) for n in used),
    )


def _method(gathered: Gathered, words: Words) -> tuple[str, ...]:
    masks = [p for p in gathered.photographs if p.folder and p.model is None]
    readable = [p for p in gathered.photographs if p.folder]
    texts = (words("method.text"),) if len(masks) < len(readable) else ()
    return (*texts, *((words("method.mask"),) if masks else ()))
