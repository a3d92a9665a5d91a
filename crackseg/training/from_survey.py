"""``crackseg data from-survey``: a survey that inspectors looked at becomes a set to learn from.

A photograph on which nobody said or changed anything is left out: that nothing is marked on it
tells nothing. The set appears when all of it is written; a refused survey leaves nothing.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackseg import __version__
from crackseg.errors import DataError, ImageError
from crackseg.folders import require_new, sha256_of
from crackseg.imagery.files import ORIENTATIONS, OpenImage, open_image
from crackseg.imagery.masks import encode_mask, read_mask
from crackseg.records import Array
from crackseg.training.areas import FOLDER as AREAS
from crackseg.training.areas import encode_areas
from crackseg.training.judged import Judged, opened, read_judged
from crackseg.training.manifest import IMAGE_SUFFIXES, ORIGIN
from crackseg.training.verdict_masks import Labels, label_photograph

_ON_MASK = 0.2  # of a centre line at least; bridges and hidden stretches lie beside the mask
_OWN_COPY = "photo.jpg"  # of the service: the upright photograph as JPEG, in a result's folder


@dataclass(frozen=True, slots=True, kw_only=True)
class FromSurvey:
    """What became of a survey."""

    pictures: int
    not_looked_at: tuple[str, ...]  # names of photographs that are left out
    not_judged: tuple[str, ...]  # too dark, too bright or blank: no crack could be seen
    copies: int  # of the pictures that are the service's JPEG, not the photograph itself
    accepted: int
    drawn: int
    rejected: int
    joints: int
    undecided: int

    def lines(self) -> Iterator[str]:
        """Yield what a user should know, sentence by sentence."""
        yield (
            f"crack: {self.accepted} accepted, {self.drawn} drawn or put right; none: "
            f"{self.rejected} rejected; other lines: {self.joints} joints; counting for nothing: "
            f"{self.undecided} undecided."
        )
        for names, why in (
            (self.not_looked_at, "nobody said or changed anything on them"),
            (self.not_judged, "they show too little to be judged"),
        ):
            if names:
                what = "1 photograph is" if len(names) == 1 else f"{len(names)} photographs are"
                yield f"{what} left out, first `{names[0]}`: {why}."
        if self.copies:
            what = "1 picture is" if self.copies == 1 else f"{self.copies} pictures are"
            yield f"{what} the bundle's JPEG; `--photographs` takes the files themselves."


def from_survey(
    survey: Path,
    out: Path,
    *,
    photographs: Path | None = None,
    licence: str = "unstated",
    looked_through: bool = False,
) -> FromSurvey:
    """Write the set ``out`` (images/, masks/, areas/, origin.json) from a survey.

    Args:
        survey: a folder of results, or a bundle of the service, packed or not.
        out: a new folder.
        photographs: where the photographs lie; None: where the reports say, else the copy that a
            bundle holds.
        licence: of the photographs, for the card of what learns from them.
        looked_through: take also photographs on which nothing is marked and nothing was said:
            somebody looked through all of them and found no crack there.

    Raises:
        DataError: a report, a verdict or a photograph does not fit or is missing, or nobody
            looked at anything; nothing is left.
        OutputError: ``out`` is there.
    """
    require_new(out)
    with opened(survey) as folder:
        every = read_judged(folder, survey)
        judged = [one for one in every if one.report.get("judged", True)]
        chosen = [one for one in judged if one.looked_at or (looked_through and not _marks(one))]
        if not chosen:
            raise DataError(
                f"nobody has looked at `{survey}`: expected verdicts ({_where()}) or corrections "
                f"on at least one of its {len(every)} photographs, got none."
            )
        places = _find_photographs(chosen, photographs)
        with _fresh(out) as part:
            rows = []
            for stem, one, place in zip(_stems(chosen), chosen, places, strict=True):
                rows.append(_write(part, stem, one, place))
            _write_origin(part, survey, licence, rows)
    labels = [row[1] for row in rows]
    return FromSurvey(
        pictures=len(chosen),
        not_looked_at=tuple(one.name for one in judged if one not in chosen),
        not_judged=tuple(one.name for one in every if one not in judged),
        copies=sum(place.name == _OWN_COPY for place in places),
        **{
            name: sum(getattr(each, name) for each in labels)
            for name in ("accepted", "drawn", "rejected", "joints", "undecided")
        },
    )


def _where() -> str:
    return "`verdicts.csv` with the columns image_name, crack and verdict"


def _marks(one: Judged) -> bool:
    """Return whether anything is marked that somebody would have to decide."""
    return bool(one.report["cracks"])


def _stems(chosen: Sequence[Judged]) -> list[str]:
    """Return a name for each pair; photographs of one name get numbers."""
    stems: list[str] = []
    for one in chosen:
        stem = Path(one.name.replace("\\", "/")).stem
        number, name = 2, stem
        while name.casefold() in {other.casefold() for other in stems}:
            name, number = f"{stem}_{number}", number + 1
        stems.append(name)
    return stems


def _find_photographs(chosen: Sequence[Judged], folder: Path | None) -> list[Path]:
    """Return the photograph of each result: the very file, else the service's copy of it.

    Raises:
        DataError: one is nowhere; names it and says how many are missing.
    """
    if folder is not None and not folder.is_dir():
        raise DataError(f"`--photographs` must be a folder, got `{folder}`.")
    by_name: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")) if folder else ():
        by_name.setdefault(path.name.casefold(), []).append(path)
    paths = [_photograph(one, by_name) for one in chosen]
    missing = [one.name for one, path in zip(chosen, paths, strict=True) if path is None]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(chosen)} photographs are not there, first `{missing[0]}`; "
            "give `--photographs`, the folder in which the very files lie that were analyzed."
        )
    return [path for path in paths if path is not None]


def _photograph(one: Judged, by_name: dict[str, list[Path]]) -> Path | None:
    named = Path(one.report["image"]["path"])
    digest = one.report["image"]["sha256"]
    last = one.name.replace("\\", "/").rpartition("/")[2]
    places: list[Path] = [*by_name.get(last.casefold(), []), named]
    for path in places:
        if path.is_file() and sha256_of(path) == digest:
            return path
    copy = one.folder / _OWN_COPY
    if not copy.is_file():
        return None
    _require_digest(one, copy)
    try:
        with open_image(copy) as image:
            same = bool((image.info.height_px, image.info.width_px) == one.shape)
    except ImageError as error:
        raise DataError(f"the picture of `{one.name}` cannot be taken: {error}") from error
    return copy if same else None  # one of a very large photograph is smaller


def _require_digest(one: Judged, path: Path) -> None:
    """Refuse a file that is not the one that the bundle was made with."""
    if path.name in one.digests and one.digests[path.name] != sha256_of(path):
        raise DataError(
            f"`{path.parent.name}/{path.name}` is not the file of `{one.name}` that the bundle was "
            "made with, or is damaged; download the bundle again."
        )


@contextmanager
def _fresh(out: Path) -> Iterator[Path]:
    """Give a folder that becomes ``out`` when the block ends well."""
    part = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        for name in ("images", "masks", AREAS):
            (part / name).mkdir(parents=True)
        yield part
        if out.is_dir():
            out.rmdir()  # it is empty
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(part: Path, stem: str, one: Judged, photograph: Path) -> tuple[dict[str, Any], Labels]:
    """Write one pair with its areas; return what origin.json says of it, and the labels."""
    mask = _read_mask(one)
    try:
        with open_image(photograph) as image:
            valid = image.load()[1]
            labels = label_photograph(one, mask, valid)
            _copy(image, photograph, part / "images", stem)
    except ImageError as error:
        raise DataError(f"the picture of `{one.name}` cannot be taken: {error}") from error
    (part / "masks" / f"{stem}.png").write_bytes(encode_mask(labels.mask))
    if labels.areas.any():
        (part / AREAS / f"{stem}.png").write_bytes(encode_areas(labels.areas))
    about = {"stem": stem, "photograph": one.name, "sha256": one.report["image"]["sha256"]}
    counts = {n: getattr(labels, n) for n in ("accepted", "drawn", "rejected", "undecided")}
    return {**about, **counts}, labels


def _read_mask(one: Judged) -> Array:
    """Return the (H, W) bool cracks of a result."""
    path = one.folder / "mask.png"
    try:
        mask = read_mask(path).pixels
    except ImageError as error:
        raise DataError(
            f"{error} A survey can be learned from where it was analyzed with the export `mask`."
        ) from error
    if mask.shape != one.shape:
        raise DataError(
            f"`{path}` must be {one.shape[0]} x {one.shape[1]} px as the photograph, got "
            f"{mask.shape[0]} x {mask.shape[1]}."
        )
    report = one.folder / "report.json"
    if one.digests.get(report.name) == sha256_of(report):  # else it was corrected meanwhile
        _require_digest(one, path)
    _require_on_mask(one, mask, path)
    return mask


def _require_on_mask(one: Judged, mask: Array, path: Path) -> None:
    """Refuse a mask that marks nothing where a crack of the report runs: it is another one's."""
    near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    for crack in one.report["cracks"]:
        points = np.concatenate([np.asarray(line) for line in crack["centre_line"] if line])
        rows, cols = np.rint(np.clip(points, 0, np.array(mask.shape) - 1)).astype(int).T
        share = float(near[rows, cols].mean())
        if share < _ON_MASK:
            raise DataError(
                f"`{path.parent.name}/{path.name}` does not belong to the report of `{one.name}` "
                f"beside it: of crack {crack['id']}, {100 * share:.0f} % lies on what it marks."
            )


def _copy(image: OpenImage, photograph: Path, folder: Path, stem: str) -> None:
    """Copy the photograph; one that is turned by its tag, or of a rare kind, as upright PNG.

    A mask of a turned photograph would have to say whether it is turned, too.
    """
    upright = not any(ORIENTATIONS[int(image.info.metadata["orientation"])])
    suffix = photograph.suffix.lower()
    if upright and suffix in IMAGE_SUFFIXES:
        shutil.copyfile(photograph, folder / f"{stem}{suffix}")
        return
    bgr = cv2.cvtColor(np.ascontiguousarray(image.read()), cv2.COLOR_RGB2BGR)
    (folder / f"{stem}.png").write_bytes(cv2.imencode(".png", bgr)[1].tobytes())


def _write_origin(
    part: Path, survey: Path, licence: str, rows: Sequence[tuple[dict[str, Any], Labels]]
) -> None:
    about = {
        "survey": survey.name,
        "licence": licence,
        "package_version": __version__,
        "photographs": [row for row, _ in rows],
    }
    text = json.dumps(about, ensure_ascii=False, indent=1)
    (part / ORIGIN).write_text(text + "\n", encoding="utf-8")
