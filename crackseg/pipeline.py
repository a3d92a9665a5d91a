"""An open image and a predictor become a report, and a report becomes a folder of files.

This is the one chain: command line, batch and service call it. A new folder appears whole or not at
all, also when the program is killed or the disk is full.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from crackseg import __version__
from crackseg.config import AnalyzeOptions, RegionOptions, to_plain
from crackseg.detection import untested_text
from crackseg.errors import ConfigError
from crackseg.exports import find_exports
from crackseg.folders import filling
from crackseg.imagery.blank import find_unjudged, unjudged_notices, unjudged_parts
from crackseg.imagery.clarity import impaired_notices
from crackseg.imagery.drawn import (
    Look,
    check_sizes,
    look_at,
    mask_notices,
    not_dark_notice,
    within,
)
from crackseg.imagery.files import OpenImage
from crackseg.imagery.masks import MaskRule, read_mask, refuse_missed
from crackseg.imagery.nothing import lost_notices, shown
from crackseg.imagery.regions import (
    Region,
    idle_joints_notice,
    outline,
    read_region,
    refuse_unusable,
    region_facts,
    share_on_joints,
)
from crackseg.imagery.scale import find_scale
from crackseg.imagery.structure import sharpness_notices
from crackseg.inference.models import is_classifier, is_detector, lowered, thresholds
from crackseg.inference.predictor import Predictor
from crackseg.metrology.classes import read_documents
from crackseg.metrology.cracks import measure
from crackseg.metrology.evidence import as_dark_elsewhere
from crackseg.metrology.fittings import net_notices, note_repeats, part_fittings
from crackseg.metrology.masks import mark, without_specks
from crackseg.metrology.other_lines import find_other_lines
from crackseg.metrology.ranking import rank
from crackseg.metrology.run_on import flag_run_on
from crackseg.metrology.totals import judged_px2, sum_up
from crackseg.metrology.unclear import doubt_blurred_widths, doubt_moved_widths
from crackseg.records import (
    Crack,
    ImageInfo,
    ModelCard,
    Notice,
    Prediction,
    Report,
    Scale,
    Unjudged,
    can_judge,
)
from crackseg.runs import Runs

SCHEMA_VERSION = "2"


def analyze(
    image: OpenImage,
    predictor: Predictor,
    options: AnalyzeOptions,
    progress: Callable[[float], None] | None = None,
    folder: Path | None = None,
) -> Report:
    """Find the cracks of an image and measure them: both halves of ``look``."""
    return look(image, predictor, options, progress, folder)()


def look(
    image: OpenImage,
    predictor: Predictor,
    options: AnalyzeOptions,
    progress: Callable[[float], None] | None = None,
    folder: Path | None = None,
) -> Callable[[], Report]:
    """Find the cracks of an image; what is returned measures them, in any thread.

    Args:
        image: the open image; it stays open until they are measured.
        predictor: the model and how it is run; the report names these, whatever ``options`` says.
        options: everything else that may be chosen; `exports` is not used here.
        progress: called with the share of the forward pass that is done, 0 to 1.
        folder: where what a killed run shall go on from is kept; see ``Predictor.predict``.

    Raises:
        ImageError: the picture is damaged.
        ScaleError: sources of the scale contradict each other.
        DataError: a region file does not fit the picture.
        ConfigError: an option does not fit the model or the machine, or the model is a tile
            classifier.
    """
    card = predictor.card
    if is_classifier(card.network) or is_detector(card.network):
        what = "decides on whole tiles" if is_classifier(card.network) else "finds boxes"
        raise ConfigError(
            f"`{card.name}` {what} and draws no cracks to measure; give a segmentation model as "
            "`--model`."
        )
    options = replace(options, model=predictor.name, predict=predictor.options)
    clock = _Clock()
    with clock.step("decode"):
        decoded = image.decode()
        region = read_region(options.region, image.info, options.mask.ignore_border_px)
    with clock.step("scale"):
        scale, scale_notices = find_scale(image.info, options.scale, image.read)
    with clock.step("stitch"):
        inside = None if region is None else region.inside
        prediction = predictor.predict(image, progress, inside, folder)
    clock.move("stitch", "forward", prediction.forward_s)
    # what was left open is in the report as it was taken
    resolved = replace(options.predict, runtime=prediction.runtime, precision=prediction.precision)
    options = replace(options, predict=resolved)

    def finish() -> Report:
        threshold, threshold_low = thresholds(options.mask, card)
        with clock.step("mask"):
            mask = mark(
                prediction.probability,
                threshold=threshold,
                threshold_low=threshold_low,
                options=options.mask,
                valid=prediction.valid,
            )
            # A network marks what it sees: its mask stays whole.
            _, valid, _ = shown(mask, prediction.valid, image.read)
        with clock.step("measure"):
            measured_in = partial(
                measure,
                image=image.read,
                probability=prediction.probability,
                other=prediction.other,
                valid=valid,
                declared=prediction.valid,
                scale=scale,
                mask_options=options.mask,
                options=options.measure,
            )
            cracks, notices = measured_in(mask)
            cracks = part_fittings(
                cracks, mask.shape, image.read, lambda part: measured_in(part)[0]
            )
            blurred = (*prediction.spoilt, *prediction.impaired)
            cracks = _doubted(cracks, prediction.unsteady, blurred, mask.shape, options)
            cracks, joints = _part_joints(cracks, region, options.region)
            cracks = note_repeats(cracks, card.certainty, mask.shape, image.read)
            cracks = rank(cracks, card.certainty)
            other_lines = _find_other_lines(prediction, mask, image, scale, options)
            cracks = flag_run_on(cracks, other_lines or ())
        untested = _untested(card, scale, scale_notices)
        asked = lowered(options.mask, card)
        of_mask = (Notice(code="threshold_low_lowered", message=asked),) if asked else ()
        of_region = _region_notices(region, joints, (*cracks, *(other_lines or ())), options.region)
        unjudged = find_unjudged(prediction)
        tells = prediction.tells_sharpness or not can_judge(unjudged)  # which says more
        of_sharpness = sharpness_notices(tells, bool(cracks))
        before = (*decoded, *scale_notices, *untested, *of_mask, *prediction.notices, *of_region)
        measured = _Measured(
            shape=mask.shape,
            cracks=cracks,
            joints=joints,
            unjudged=unjudged,
            impaired=prediction.impaired,
            notices_before=before,
            notices=(*notices, *of_sharpness, *net_notices(cracks)),
        )
        report = _report(image.info, options, scale, region, measured, clock.seconds)
        report = replace(report, model=card, unsteady=prediction.unsteady)
        return replace(report, thresholds=(threshold, threshold_low), other_lines=other_lines)

    return finish


def measure_mask(
    mask_image: OpenImage,
    image: OpenImage | None,
    options: AnalyzeOptions,
    rule: MaskRule | None = None,
    *,
    least_px: int = 1,
) -> Report:
    """Measure the cracks of a mask from elsewhere.

    Args:
        mask_image: the mask, see ``imagery.masks``.
        image: the photograph of the same size, from which widths are read; None: from the mask.
        options: `measure`, `mask` (gaps, pinholes, border), `region` and `scale` are used.
        rule: which values of the mask are crack, where it does not tell itself.
        least_px: smaller specks of the mask are left out, and counted in a notice.

    Raises:
        ConfigError: a region file that is named does not exist.
        DataError: which pixels are crack would be a guess, or a region does not fit the picture.
        ImageError: a file is damaged, or the two differ in size.
        ScaleError: sources of the scale contradict each other.
    """
    clock = _Clock()
    source = mask_image if image is None else image
    check_sizes(mask_image, source)
    refuse_unusable(options.region)
    with clock.step("decode"):
        decoded = () if image is None else image.decode()
        region = read_region(options.region, source.info, options.mask.ignore_border_px)
        rule, path = rule or MaskRule(), mask_image.info.path
        read = read_mask(path, rule, max_megapixels=options.max_megapixels)
        refuse_missed({path.name: read}, rule)
        mask, read_notices = read.pixels, read.notices(rule)
    with clock.step("scale"):
        scale, scale_notices = find_scale(source.info, options.scale, source.read)
    with clock.step("measure"):
        look = Look(None, {}) if image is None else look_at(image, region)
        mask, counts, outside_px2 = within(mask, look.valid, region)
        unjudged = unjudged_parts(mask.shape, counts, outside_px2, look.blank_px2, look.spoilt)
        seen, valid, lost_px = shown(mask, counts, None if image is None else image.read)
        whole = without_specks(seen, least_px)
        cracks, notices = measure(
            whole,
            image=None if image is None else image.read,
            valid=valid,
            declared=counts,
            scale=scale,
            mask_options=options.mask,
            options=options.measure,
        )
        blurred = (*look.spoilt, *look.impaired)
        cracks = _doubted(cracks, look.unsteady, blurred, mask.shape, options)
        cracks, joints = _part_joints(cracks, region, options.region)
        cracks = rank(cracks, None)
    small_px, empty = seen.sum() - whole.sum(), not (cracks or joints)
    notices = (*notices, *lost_notices(lost_px, seen.sum()))
    notices = (*notices, *mask_notices(read.pixels, whole, small_px, empty, options))
    if image is not None:
        marks = (*cracks, *joints)
        elsewhere = as_dark_elsewhere(marks, whole.shape, image.read)
        notices = (*notices, *not_dark_notice(marks, elsewhere))
    of_region = _region_notices(region, joints, cracks, options.region)
    measured = _Measured(
        shape=mask.shape,
        cracks=cracks,
        joints=joints,
        unjudged=unjudged,
        impaired=look.impaired,
        notices_before=(*decoded, *read_notices, *scale_notices, *of_region),
        notices=tuple(notices),
    )
    report = _report(source.info, options, scale, region, measured, clock.seconds)
    return replace(report, unsteady=look.unsteady)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """What was measured in a picture, and what of it cannot be judged."""

    shape: tuple[int, ...]  # (H, W)
    cracks: tuple[Crack, ...]
    joints: tuple[Crack, ...]
    unjudged: tuple[Unjudged, ...]
    impaired: tuple[Unjudged, ...]
    notices_before: tuple[Notice, ...]  # of all that comes before the measuring
    notices: tuple[Notice, ...]


def _report(
    info: ImageInfo,
    options: AnalyzeOptions,
    scale: Scale | None,
    region: Region | None,
    measured: _Measured,
    timing_s: Mapping[str, float],
) -> Report:
    """Return the report of what was measured, of no model."""
    unjudged, shape = measured.unjudged, measured.shape
    return Report(
        schema_version=SCHEMA_VERSION,
        package_version=__version__,
        image=info,
        scale=scale,
        model=None,
        thresholds=None,
        options=to_plain(options),
        cracks=measured.cracks,
        totals=sum_up(measured.cracks, shape, judged_px2(shape, unjudged), scale),
        notices=_distinct(
            info.notices,
            measured.notices_before,
            unjudged_notices(unjudged, judged=can_judge(unjudged)),
            impaired_notices(measured.impaired),
            measured.notices,
        ),
        timing_s=timing_s,
        unjudged=unjudged,
        impaired=measured.impaired,
        joints=measured.joints,
        left_out=outline(region),
        region_files=() if region is None else region_facts(region.files),
    )


def export(
    report: Report,
    folder: Path,
    image: OpenImage | None,
    names: Iterable[str],
    *,
    origin: str = "",
    content: str = "",
) -> Report:
    """Write the files of a report into ``folder``; see ``crackseg.folders.filling``.

    ``report.json`` is always written, and last, so that it holds the time of the other files.

    Args:
        report: what was found.
        folder: in one that is there, the files of an earlier run are replaced, others stay.
        image: the open photograph, or None.
        names: exports, see ``crackseg.exports.EXPORTS``.
        origin: for the folder's mark, what it was made from.
        content: for the folder's mark, sha256 of the source.

    Returns:
        The report with the seconds of the step ``export``.

    Raises:
        OutputError: a file in the way was not made by this program, or was changed since.
        OSError: the folder cannot be written; nothing is left behind.
    """
    clock = _Clock()
    writers = find_exports(names)
    with filling(folder, origin=origin, content=content) as fresh:
        with clock.step("export"):
            for name, write in writers.items():
                if name != "json":
                    write(report, fresh, image)
        report = replace(report, timing_s={**report.timing_s, **clock.seconds})
        find_exports(["json"])["json"](report, fresh, image)
    return report


class _Clock:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def move(self, source: str, target: str, seconds: float) -> None:
        """Book ``seconds`` of one step under another."""
        self.seconds[target] = seconds
        self.seconds[source] = max(self.seconds[source] - seconds, 0.0)


def _find_other_lines(
    prediction: Prediction,
    mask: Runs,
    image: OpenImage,
    scale: Scale | None,
    options: AnalyzeOptions,
) -> tuple[Crack, ...] | None:
    """Return the other lines with what blur makes doubtful; None where the model knows none."""
    lines = find_other_lines(
        prediction,
        mask,
        image=image.read,
        scale=scale,
        mask_options=options.mask,
        options=options.measure,
    )
    blurred = (*prediction.spoilt, *prediction.impaired)
    return None if lines is None else doubt_blurred_widths(lines, blurred, mask.shape)


def _doubted(
    cracks: tuple[Crack, ...],
    moving: tuple[Unjudged, ...],
    blurred: tuple[Unjudged, ...],
    shape: tuple[int, ...],
    options: AnalyzeOptions,
) -> tuple[Crack, ...]:
    """Return the cracks with intervals that hold what motion and blur may have made of widths."""
    documents = read_documents(options.measure.documents, options.measure.width_classes)
    size = (shape[0], shape[1])
    return doubt_blurred_widths(doubt_moved_widths(cracks, moving, size, documents), blurred, size)


def _part_joints(
    cracks: tuple[Crack, ...], region: Region | None, options: RegionOptions
) -> tuple[tuple[Crack, ...], tuple[Crack, ...]]:
    """Return the cracks, and those that run along a line that the region names as a joint."""
    if region is None or not region.joints:
        return cracks, ()
    parted: tuple[list[Crack], list[Crack]] = ([], [])
    for crack in cracks:
        points = np.concatenate([branch.centre_line for branch in crack.branches])
        share = share_on_joints(points, region.joints, options.joint_reach_px)
        group = parted[share >= options.joint_share]
        group.append(replace(crack, id=len(group) + 1))
    return tuple(parted[0]), tuple(parted[1])


def _region_notices(
    region: Region | None,
    joints: Sequence[Crack],
    others: Sequence[Crack],
    options: RegionOptions,
) -> tuple[Notice, ...]:
    """Return what a region's files are warned of; ``others`` are all lines that are no joints."""
    if region is None:
        return ()
    across_px = 2 * options.joint_reach_px  # a shorter branch may cross a joint
    lines = [np.concatenate([branch.centre_line for branch in joint.branches]) for joint in joints]
    lines += [
        branch.centre_line
        for line in others
        for branch in line.branches
        if len(branch.centre_line) > across_px
    ]
    return (*region.notices, *idle_joints_notice(region.joints, lines, options))


def _untested(card: ModelCard, scale: Scale | None, others: Iterable[Notice]) -> Iterator[Notice]:
    """Yield the notice of a scale that the model was not tested for; a coarser one has its own."""
    text = untested_text(card.detection, None if scale is None else scale.mm_per_px)
    if text and all(notice.code != "coarse_scale" for notice in others):
        yield Notice(code="untested_scale", message=text)


def _distinct(*groups: Iterable[Notice]) -> tuple[Notice, ...]:
    return tuple(dict.fromkeys(notice for group in groups for notice in group))
