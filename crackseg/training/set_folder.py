"""New pairs -> into the folder of a set, which may hold others: nothing there is written over.

A set is images/, masks/, perhaps areas/, lists, ``sites.csv`` (stem, site) and ``origin.json`` (its
licence). Everything is checked before anything is moved. A photograph that is there under another
name is no new one: it would be learned from twice, or stand on both sides of a split.
"""

from __future__ import annotations

import csv
import filecmp
import json
import shutil
import unicodedata
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from crackseg.errors import DataError
from crackseg.records import Sample
from crackseg.training.areas import FOLDER as AREAS
from crackseg.training.areas import areas_file
from crackseg.training.manifest import ORIGIN, SITES, by_stem, own_licence, read_sites


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is said of the pictures of a set beside their masks."""

    licence: str = ""  # "" where nothing is said
    sites: Mapping[str, str] = field(default_factory=dict)  # stem -> site


def folded(name: str) -> str:
    """Return a name as a file system compares it that takes ``A`` for ``a`` and knows one ``ä``."""
    return unicodedata.normalize("NFC", name).casefold()


@contextmanager
def fresh(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out`` that is gone when the block ends, well or not.

    Raises:
        DataError: ``out`` is a file, or holds something that is no set.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"`--out` must be a folder, and {out} is a file.")
    if out.is_dir() and any(out.iterdir()) and not (out / "images").is_dir():
        raise DataError(
            f"`--out` {out} holds other files and is no set (images/, masks/); choose a new folder."
        )
    part = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        for name in ("images", "masks"):
            (part / name).mkdir(parents=True)
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def join_facts(out: Path, stems: Sequence[str], licence: str, site: str) -> Facts:
    """Return what a set says once pictures with these stems are in it.

    Args:
        out: the set, which may not be there yet.
        stems: of the new pictures.
        licence: of the new pictures; "" to say nothing.
        site: that all new pictures show; "" to say nothing.

    Raises:
        DataError: the set says something else, or holds other pictures of unknown licence.
    """
    others = sorted(set(_by_stem(out / "masks")) - set(stems))
    before = own_licence(out) if (out / ORIGIN).is_file() else ""
    if licence and before != licence and (before or others):
        what = f"is of licence {before!r}" if before else f"holds {others[0]} of no known licence"
        raise DataError(
            f"`--licence` is {licence!r}, and `{out}` {what}; a set has one licence, so choose "
            "another `--out`, beside it."
        )
    sites = read_sites(out / SITES)
    for stem in stems if site else ():
        if sites.setdefault(stem, site) != site:
            raise DataError(f"`--site` is {site!r}, and {out / SITES} says {sites[stem]!r} of it.")
    return Facts(licence=licence or before, sites=sites)


def write_facts(facts: Facts, out: Path) -> None:
    """Write what is said of the pictures of a set; the rest of ``origin.json`` stays."""
    if facts.licence:
        file = out / ORIGIN
        about = json.loads(file.read_text(encoding="utf-8-sig")) if file.is_file() else {}
        text = json.dumps({**about, "licence": facts.licence}, ensure_ascii=False, indent=1)
        _replace(file, text + "\n")
    if facts.sites:
        part = out / f"{SITES}.part"
        with part.open("w", newline="", encoding="utf-8") as stream:
            rows = sorted(facts.sites.items())
            csv.writer(stream, lineterminator="\n").writerows([("stem", "site"), *rows])
        part.replace(out / SITES)


def move_in(pairs: Sequence[Sample], part: Path, out: Path) -> tuple[Sample, ...]:
    """Put the pairs of a folder into ``out``; refuse, before anything is moved, what is in the way.

    A pair that is there with the same content is left as it is.

    Args:
        pairs: written below ``part``.
        part: a set; gone afterwards where ``out`` was not there.
        out: the set.

    Raises:
        DataError: names what is there with other content, or under another name.
    """
    if not out.exists():
        part.rename(out)
        return tuple(
            _at(p, out / "images" / p.image.name, out / "masks" / p.mask.name) for p in pairs
        )
    images, masks, areas = (_by_stem(out / name) for name in ("images", "masks", AREAS))
    for pair in pairs:
        _refuse_other(pair, images, masks, areas)
    _refuse_twins(pairs, images)
    samples = []
    for pair in pairs:
        places = []
        for new, folder, stored in ((pair.image, "images", images), (pair.mask, "masks", masks)):
            place = stored.get(pair.mask.stem, out / folder / new.name)
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                new.rename(place)
            places.append(place)
        if areas_file(pair).is_file() and pair.mask.stem not in areas:
            (out / AREAS).mkdir(exist_ok=True)
            areas_file(pair).rename(out / AREAS / areas_file(pair).name)
        samples.append(_at(pair, *places))
    return tuple(samples)


def _refuse_other(
    pair: Sample, images: Mapping[str, Path], masks: Mapping[str, Path], areas: Mapping[str, Path]
) -> None:
    stem = pair.mask.stem
    if stem in masks and (stem in areas) != areas_file(pair).is_file():
        raise DataError(
            f"`{masks[stem]}` is in the set already, {'with' if stem in areas else 'without'} "
            "areas, unlike the new one; choose another `--out`, or delete the pair."
        )
    for there, new in (
        (images.get(stem), pair.image),
        (masks.get(stem), pair.mask),
        (areas.get(stem), areas_file(pair)),
    ):
        if there is not None and not filecmp.cmp(there, new, shallow=False):
            raise DataError(
                f"`{there}` is in the set already with other content than the new "
                f"`{new.name}`; choose another `--out` for a flight of its own, or delete the pair."
            )


def _refuse_twins(pairs: Sequence[Sample], images: Mapping[str, Path]) -> None:
    """Refuse names that differ by case alone, and a photograph that is there by another name."""
    names = {folded(stem): stem for stem in images}
    sizes: dict[int, list[Path]] = {}
    for path in images.values():
        sizes.setdefault(path.stat().st_size, []).append(path)
    for pair in (each for each in pairs if each.image.stem not in images):
        if folded(pair.image.stem) in names:
            raise DataError(
                f"`{images[names[folded(pair.image.stem)]]}` and the new `{pair.image.name}` would "
                "be one file on some systems; rename one, or choose another `--out`."
            )
        for there in sizes.get(pair.image.stat().st_size, ()):
            if filecmp.cmp(there, pair.image, shallow=False):
                raise DataError(
                    f"the new `{pair.image.name}` is in the set already as `{there}`: learned from "
                    "twice it would count twice; leave it out, or delete the pair that is there."
                )


def _at(pair: Sample, image: Path, mask: Path) -> Sample:
    return replace(pair, image=image, mask=mask, source=image.parent.parent.name)


def _by_stem(folder: Path) -> dict[str, Path]:
    return by_stem(folder) if folder.is_dir() else {}


def _replace(file: Path, text: str) -> None:
    part = file.with_name(f"{file.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)
