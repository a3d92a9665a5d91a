"""Annotations of labelling tools, or mask pictures -> one set of images/ and masks/.

Nothing is guessed: of several labels the caller says which are cracks, a line without a width needs
one, two pictures of one name are told apart by their folders, and a picture is never a crack-free
example because its crack could not be drawn. The set appears when all of it is written and read
back; a refused import leaves nothing, and never writes over a pair that is there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from crackseg.errors import CracksegError, DataError
from crackseg.file_kinds import all_below
from crackseg.imagery.files import open_image
from crackseg.imagery.masks import MOST_CRACK, MaskRule, encode_mask
from crackseg.names import count, look_up
from crackseg.records import SPLITS, Sample
from crackseg.training.annotation_readers import Annotated
from crackseg.training.areas import areas_file, encode_areas
from crackseg.training.manifest import IMAGE_SUFFIXES, beside, read_pair
from crackseg.training.readers import READERS, Reader
from crackseg.training.set_folder import folded, fresh, join_facts, move_in, write_facts
from crackseg.training.shapes import BACKGROUND, Filled, FillOptions, fill, fill_areas

_MASK_ENDINGS = re.compile(r"[-_. ]?(mask|masks|label|labels|gt|seg|annotation)$", re.IGNORECASE)

_MOST_NAMES = 5  # in a sentence; more are counted
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # before the name of what was uploaded to Label Studio


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What counts as crack and how lines become areas."""

    labels: tuple[str, ...] = ()  # names that are crack; may stay empty where there is only one
    cutting: tuple[str, ...] = ()  # names whose shapes take away what lies below, as `background`
    left_out: tuple[str, ...] = ()  # names of what counts for nothing
    others: tuple[str, ...] = ()  # names of other lines: joints, cables

    @property
    def besides(self) -> tuple[str, ...]:
        """Every name that is told and is no crack."""
        return self.cutting + self.left_out + self.others

    rule: MaskRule = field(default_factory=MaskRule)  # what is crack in mask pictures
    line_px: float | None = None  # width given to annotated lines
    holes: bool = False  # a ring inside another of its shape is a hole
    licence: str = ""  # of the photographs; goes on to what learns from them
    site: str = ""  # structure that they all show


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import wrote."""

    samples: tuple[Sample, ...]
    empty: int  # pictures without a crack
    shapes: int  # of crack
    labels: tuple[str, ...]  # taken as crack
    notes: tuple[str, ...] = ()  # what a person should look at


def import_annotations(
    source: Path, pictures: Path, out: Path, *, format: str, options: ImportOptions
) -> Imported:
    """Write ``out``/images and ``out``/masks, each pair read back.

    Args:
        source: file or folder of annotations.
        pictures: folder of the photographs; names with folders are looked for below it.
        out: set to write, or one to add to; photographs are copied as they are.
        format: name in ``READERS``.
        options: labels, values, line width.

    Raises:
        DataError: names file and entry that is broken or would have to be guessed; nothing is left.
        UnknownName: no such format.
    """
    reader: Reader = look_up(READERS, format, what="annotation format")
    if not pictures.is_dir():
        raise DataError(f"`--images` must be the folder of the photographs, got `{pictures}`.")
    entries = list(reader(source, options.rule))
    if not entries:
        raise DataError(f"{source} holds no annotated picture of format `{format}`.")
    labels = _crack_labels(entries, options, source)
    photographs = _match(entries, pictures)
    how = FillOptions(
        labels=labels,
        cutting=frozenset(options.cutting),
        left_out=frozenset(options.left_out),
        others=frozenset(options.others),
        line_px=options.line_px,
        holes=options.holes,
    )
    with fresh(out) as part:
        pairs, filled = [], []
        for entry, (photograph, stem) in zip(entries, photographs, strict=True):
            sample, shapes = _write_pair(entry, photograph, stem, part, how)
            pairs.append(sample)
            filled.append(shapes)
        stems = [pair.mask.stem for pair in pairs]
        facts = join_facts(out, stems, options.licence, options.site)
        samples = move_in(pairs, part, out)
        write_facts(facts, out)
    used = {folded(str(photograph)) for photograph, _ in photographs}
    used |= {folded(entry.where) for entry in entries}  # masks that lie among the photographs
    return Imported(
        samples=samples,
        empty=sum(one.empty for one in filled),
        shapes=sum(one.shapes for one in filled),
        labels=tuple(sorted(labels)),
        notes=(
            *_not_annotated(pictures, used, out),
            *_passed_over(entries, labels, options),
            *_notes(entries, filled, out),
        ),
    )


def _crack_labels(
    entries: Sequence[Annotated], options: ImportOptions, source: Path
) -> frozenset[str]:
    """Return the labels that are crack; with several in use the caller has to name them."""
    used = {shape.label for entry in entries for shape in entry.shapes}
    declared = {label for entry in entries for label in entry.declared}
    tags = {tag for entry in entries for tag in entry.tags}
    names = set(options.labels + options.besides)
    unknown = names - used - declared - tags
    if used <= names | {BACKGROUND}:  # a file may hold nothing unsure; a slip would leave a label
        unknown -= set(options.left_out + options.others)
    drawn = {label for label in used if label.casefold() != BACKGROUND} - set(options.besides)
    declared -= set(options.besides)
    # one label is crack, unless the file knows others and this one does not even sound like it
    tags_alone = bool(tags) and not drawn
    sure = len(drawn) == 1 and (declared <= used or "crack" in "".join(drawn).casefold())
    if (unknown and used) or (not options.labels and (tags_alone or (drawn and not sure))):
        raise DataError(
            f"`labels` must say which labels are crack: {source} uses "
            f"{', '.join(sorted(used | declared | tags)) or 'none'}, "
            f"got {', '.join(options.labels + options.besides) or 'none'}."
        )
    return frozenset(options.labels or drawn)


def _match(entries: Sequence[Annotated], pictures: Path) -> list[tuple[Path, str]]:
    """Return the photograph of every entry, and the stem of its pair in the set."""
    find = _Photographs(pictures)
    photographs = [find(entry) for entry in entries]
    first: dict[Path, str] = {}
    for entry, photograph in zip(entries, photographs, strict=True):
        if photograph in first:
            raise DataError(
                f"{entry.where}: `{photograph}` is also the photograph of {first[photograph]}; "
                "each picture may be annotated once, and pictures of one name need their folders "
                "below `--images`."
            )
        first[photograph] = entry.where
    stems = [photograph.stem for photograph in photographs]
    times = Counter(folded(stem) for stem in stems)
    for k, photograph in enumerate(photographs):
        if times[folded(photograph.stem)] > 1:  # told apart by their folders
            stems[k] = "_".join(photograph.relative_to(pictures).with_suffix("").parts)
    photograph_of: dict[str, Path] = {}
    for stem, photograph in zip(stems, photographs, strict=True):
        other = photograph_of.setdefault(folded(stem), photograph)
        if other != photograph:
            raise DataError(f"`{photograph}` and `{other}` share the name `{stem}`; rename one.")
    return list(zip(photographs, stems, strict=True))


def _pictures_in(folder: Path) -> list[Path]:
    return [
        path
        for path in all_below(folder)
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    ]


class _Photographs:
    """Finds the photograph of an entry: by its whole path, by less of it, then anywhere below."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_name: dict[str, list[Path]] = {}
        self.by_upload: dict[str, list[Path]] = {}
        for path in _pictures_in(folder):
            for name in {folded(path.name), folded(path.stem)}:
                self.by_name.setdefault(name, []).append(path)
            self.by_upload.setdefault(folded(_upload_name(path.name)), []).append(path)

    def __call__(self, entry: Annotated) -> Path:
        parts = entry.picture.split("/")
        for k in range(len(parts)):
            path = self.folder.joinpath(*parts[k:])
            if os.path.isfile(path):  # noqa: PTH113  # a name that no disk takes is no error here
                if 0 < k == len(parts) - 1 and folded(parts[k - 1]) != folded(self.folder.name):
                    # The folder that is named is not here; of one name there may be several.
                    self._refuse_several(entry, self.by_name.get(folded(path.name), [path]))
                return path
        stem = (
            Path(parts[-1]).stem if Path(parts[-1]).suffix.lower() in IMAGE_SUFFIXES else parts[-1]
        )
        names = (parts[-1], stem, _MASK_ENDINGS.sub("", stem))
        found = [self.by_name.get(folded(name), []) for name in names]
        if _UPLOADED.match(parts[-1]):
            found.append(self.by_upload.get(folded(_UPLOADED.sub("", parts[-1])), []))
        for known in found:
            paths = self._nearest(known, parts[:-1])
            near = len(parts) == 1 or all(path.parent == self.folder for path in paths)
            if len(paths) == 1 and (near or self._named(paths[0], parts)):
                return paths[0]
            if paths:
                self._refuse_several(entry, paths, several=1)
        raise DataError(
            f"{entry.where}: there is no photograph `{entry.picture}` in {self.folder}"
            f"{beside(self.folder, stem)}."
        )

    def _refuse_several(self, entry: Annotated, paths: list[Path], several: int = 2) -> None:
        if len(paths) >= several:
            may_be = " or ".join(map(str, paths[:2]))
            raise DataError(
                f"{entry.where}: `{entry.picture}` may be {may_be}, which is not sure; give "
                "`--images` the folder that its name begins in."
            )

    def _named(self, path: Path, parts: list[str]) -> bool:
        """Return whether a photograph lies in a folder that the entry names."""
        return any(path.parent == self.folder.joinpath(*parts[k:-1]) for k in range(len(parts)))

    def _nearest(self, paths: list[Path], folders: list[str]) -> list[Path]:
        """Return those in the folder that is named, or lying directly in the folder, if any."""
        for k in range(len(folders) + 1):
            here = [p for p in paths if p.parent == self.folder.joinpath(*folders[k:])]
            if here:
                return here
        return paths


def _upload_name(name: str) -> str:
    """Return a file's name as Label Studio keeps an upload: no space, few signs (Django's rule)."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


def _write_pair(
    entry: Annotated, photograph: Path, stem: str, part: Path, how: FillOptions
) -> tuple[Sample, Filled]:
    """Write one picture and its mask, and read them back as the pair they are."""
    drawn, filled = fill(entry.shapes, entry.size or _size_of(photograph), entry.where, how)
    asked = {label.strip().casefold() for label in how.labels}  # `Crack` may be meant as well
    tagged = [tag for tag in entry.tags if tag.strip().casefold() in asked]
    if tagged and filled.empty:
        raise DataError(
            f"{entry.where}: the picture is tagged `{tagged[0]}` and no crack is outlined in it; "
            "outline it, or take away the tag."
        )
    sample = Sample(
        image=part / "images" / f"{stem}{photograph.suffix}",
        mask=part / "masks" / f"{stem}.png",
        source=part.name,
        split="train",
    )
    shutil.copyfile(photograph, sample.image)
    sample.mask.write_bytes(encode_mask(drawn))
    areas = fill_areas(entry.shapes, drawn, entry.where, how)
    if areas is not None:
        areas_file(sample).parent.mkdir(exist_ok=True)
        areas_file(sample).write_bytes(encode_areas(areas))
    try:
        read_pair(sample)
    except CracksegError as error:
        text = (
            str(error)
            .replace(str(sample.mask), "its mask")
            .replace(str(sample.image), sample.image.name)
            .replace(sample.image.name, str(photograph))
        )
        raise DataError(f"{entry.where}: {text}") from error
    share = float(drawn.mean())
    return sample, replace(filled, share=share, shapes=0 if filled.empty else filled.shapes)


def _size_of(photograph: Path) -> tuple[int, int]:
    with open_image(photograph) as image:
        return image.info.height_px, image.info.width_px


def _not_annotated(pictures: Path, used: Set[str], out: Path) -> Iterator[str]:
    """Yield which pictures of the folder nobody annotated: some may have been meant as sound."""
    rest = [
        str(path.relative_to(pictures))
        for path in _pictures_in(pictures)
        if folded(str(path)) not in used and out.resolve() not in path.resolve().parents
    ]
    if rest:
        has = "has no annotation and is" if len(rest) == 1 else "have no annotation and are"
        more = f" and {len(rest) - _MOST_NAMES} more" if len(rest) > _MOST_NAMES else ""
        names = ", ".join(rest[:_MOST_NAMES])
        yield f"{count(len(rest), 'picture')} of `--images` {has} not imported: {names}{more}."


def _passed_over(
    entries: Sequence[Annotated], labels: frozenset[str], options: ImportOptions
) -> Iterator[str]:
    """Yield which labels were drawn and not named: of two spellings of crack one may be meant."""
    named = labels | set(options.besides)
    drawn = Counter(shape.label for entry in entries for shape in entry.shapes)
    rest = [
        f"{label} ({times})"
        for label, times in sorted(drawn.items())
        if label not in named and label.casefold() != BACKGROUND
    ]
    if rest:
        names = ", ".join(rest)
        yield f"shapes of labels that `--labels` does not name count as background: {names}."


def _notes(entries: Sequence[Annotated], filled: Sequence[Filled], out: Path) -> Iterator[str]:
    """Yield what a person should look at."""
    for entry, one in zip(entries, filled, strict=True):
        for label, area_px in one.covered:
            yield (
                f"{entry.where}: `{label}` lies on top of crack in {area_px} px, which stay crack; "
                f"`--labels-off {label}` cuts them out."
            )
    full = [
        entry.where for entry, one in zip(entries, filled, strict=True) if one.share > MOST_CRACK
    ]
    if full:
        more = f" and {len(full) - _MOST_NAMES} more" if len(full) > _MOST_NAMES else ""
        yield (
            f"more than half of {len(full)} of {len(filled)} pictures is crack "
            f"({', '.join(full[:_MOST_NAMES])}{more}): it looks as if the ground were named as "
            "crack; look at their masks."
        )
    thin, boxes = (sum(getattr(one, name) for one in filled) for name in ("thin", "boxes"))
    if thin:
        yield f"{thin} shapes are thinner than a pixel and became lines of one pixel."
    if boxes:
        yield f"{boxes} shapes are boxes, and all of each counts as crack."
    lists = [f"{split}.txt" for split in SPLITS if (out / f"{split}.txt").is_file()]
    if lists:
        yield f"{out} has lists ({', '.join(lists)}); a picture that none names is not used."
