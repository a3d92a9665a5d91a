"""Folders of photographs and masks -> manifest CSV -> verified ``Sample`` records.

A manifest row names one pair; pairs come from equal stems, never from sorted order. Paths in the
file are relative to its own folder or to a root the caller gives, so that a manifest can be
committed while the pictures stay elsewhere. A row that names a missing or altered file, an unknown
split or the same picture twice is refused with file, row and column.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from crackseg.csv_files import Row, read_csv, read_text
from crackseg.errors import DataError, NoPartner
from crackseg.file_kinds import PICTURES, SUFFIXES, all_below, is_of_system
from crackseg.folders import refuse_unless, sha256_of
from crackseg.imagery.files import ORIENTATIONS, open_image
from crackseg.imagery.masks import read_mask
from crackseg.records import SPLITS, Array, Sample

COLUMNS = tuple(field.name for field in dataclasses.fields(Sample))
ORIGIN = "origin.json"  # of a set: its licence, among others
SITES = "sites.csv"  # of a set: columns stem, site
IMAGE_SUFFIXES = frozenset(SUFFIXES)
HOLD_OUT = 0.2  # of the pictures of train, where nothing says what to judge by

Refuse = Callable[[DataError], None]


def raise_it(error: DataError) -> None:
    """Raise the error: what is done with broken rows unless they are collected."""
    raise error


def read_manifest(
    file: Path,
    *,
    root: Path | None = None,
    check_hashes: bool = True,
    refuse: Refuse = raise_it,
) -> tuple[Sample, ...]:
    """Return the samples of a manifest after checking that every file is there and unaltered.

    Args:
        file: CSV with the columns of ``COLUMNS``.
        root: folder the paths are relative to; where it has no such file, and when it is None,
            the CSV's own folder.
        check_hashes: compare the sha256 of both files of every row.
        refuse: called with the error of a broken row, which is then left out; raises by default.

    Raises:
        DataError: names file, row (the header is row 1) and column.
    """
    folders = _folders(file, root)
    samples: list[Sample] = []
    first: dict[Path, int] = {}
    for row in _read_rows(file):
        where = f"{file}: row {row.line}"
        try:
            sample = _read_row(row.cells, folders, where, check_hashes)
            if sample.image in first:
                raise DataError(
                    f"{where}: column `image`: {sample.image} is already in row "
                    f"{first[sample.image]}; keep one of the two."
                )
        except DataError as error:
            refuse(error)
            continue
        first[sample.image] = row.line
        samples.append(sample)
    return tuple(samples)


def row_numbers(file: Path, *, root: Path | None = None) -> dict[Path, int]:
    """Return the row of every picture of a manifest (the header is row 1)."""
    folders = _folders(file, root)
    return {_place(folders, row.cells["image"]): row.line for row in _read_rows(file)}


def write_manifest(samples: Iterable[Sample], file: Path, *, root: Path | None = None) -> None:
    """Write samples as CSV with paths relative to ``root`` (the CSV's own folder when None)."""
    refuse_unless(file, lambda text: text.splitlines()[:1] == [",".join(COLUMNS)], "manifest")
    folder = (file.parent if root is None else root).resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for sample in samples:
            row = dataclasses.asdict(sample)
            for column in ("image", "mask"):
                row[column] = _relative(row[column].resolve(), folder)
            writer.writerow(row)
    part.replace(file)


def _relative(path: Path, folder: Path) -> str:
    """Return a path by slashes as seen from a folder; whole where it is on another drive."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # drives of Windows have no way between them
        return path.as_posix()


def index_folder(
    root: Path,
    *,
    sets: Sequence[str] = (),
    licences: Mapping[str, str] | None = None,
    split: str = "train",
    hold_out: float = 0.0,
    hashes: bool = True,
    refuse: Refuse = raise_it,
) -> tuple[Sample, ...]:
    """Return one sample for every pair below ``root``, in order of set and stem.

    ``root`` is either one set (``images/`` and ``masks/``) or a folder of such sets. Lists
    ``train.txt``, ``val.txt``, ``test.txt``, ``test_leaky.txt`` hold stems and give the split;
    with lists present an unlisted picture is left out; without, each picture and each mask needs
    its partner. ``sites.csv`` (stem, site) gives the site.

    Args:
        root: folder to index.
        sets: names of the sets to keep; all when empty.
        licences: set name -> licence text; for the others what ``origin.json`` of the set says,
            else "unstated".
        split: split of all pairs of a set that has no lists.
        hold_out: share of ``train`` that becomes ``val`` in sets without a ``val`` list. The last
            stems in name order are taken, whole sites together: neighbours in a series often show
            the same spot, and a random draw would put them on both sides. Where each set is one
            site, the last sets are taken.
        hashes: compute the sha256 of every file.
        refuse: called with the error of a broken pair, which is then left out; raises by default.

    Raises:
        DataError: no pair was found, a set is unknown, or a listed picture or its mask is missing.
    """
    folders = find_sets(root)
    unknown = sorted(set(sets) - set(folders))
    if unknown:
        raise DataError(
            f"`sets` names {', '.join(unknown)}, not found in {root}; "
            f"there are: {', '.join(sorted(folders))}."
        )
    if strange := sorted(set(licences or ()) - set(folders)):
        raise DataError(
            f"`licences` names {', '.join(strange)}, not found in {root}; "
            f"there are: {', '.join(sorted(folders))}."
        )
    samples: list[Sample] = []
    for name in sorted(sets or folders):
        licence = (licences or {}).get(name) or own_licence(folders[name])
        pairs = _index_set(folders[name], name, split, licence, refuse)
        samples += _hold_out(pairs, hold_out)
    samples = _hold_out(samples, hold_out)  # of sets that are one site each
    return tuple(_with_hashes(sample) for sample in samples) if hashes else tuple(samples)


def refuse_unknown_sets(names: Iterable[str], samples: Iterable[Sample], where: str) -> None:
    """Refuse names of sets that no sample has: a slip would leave out a set, or a wish for it.

    Args:
        names: that somebody wrote.
        samples: all there are.
        where: the option they stand in.

    Raises:
        DataError: names those that are not there.
    """
    there = sorted({sample.source for sample in samples})
    if unknown := sorted(set(names) - set(there)):
        raise DataError(
            f"`{where}` names {', '.join(unknown)}, of which there is no picture; there are: "
            f"{', '.join(there) or 'none'}."
        )


def photograph_of(sample: Sample) -> str:
    """Return the name of what belongs together: the site, or the photograph of a crop, `name-1`."""
    return sample.site or re.sub(r"-\d+$", "", sample.image.stem)


def read_pair(sample: Sample) -> tuple[Array, Array]:
    """Return the upright (H, W, 3) uint8 RGB picture and the (H, W) bool mask of a sample.

    A photograph may say in EXIF how it is to be turned, a mask does not. One that fits only the
    stored picture was drawn on it, and is turned with it.

    Raises:
        DataError: the two differ in size, the mask does not tell what is crack, or it fits a
            picture as stored and as turned alike.
        ImageError: a file is unreadable.
    """
    with open_image(sample.image) as image:
        picture = image.read()
        turn = int(image.info.metadata["orientation"])
    return picture, _upright(sample, picture.shape[:2], turn)


def read_label(sample: Sample) -> Array:
    """Return the mask of ``read_pair``; the picture is opened and not decoded.

    Raises:
        DataError: as ``read_pair``.
        ImageError: a file is unreadable.
    """
    with open_image(sample.image) as image:
        info, turn = image.info, int(image.info.metadata["orientation"])
    return _upright(sample, (info.height_px, info.width_px), turn)


def _upright(sample: Sample, upright: tuple[int, int], orientation: int) -> Array:
    """Return the (H, W) bool mask of a sample, turned as its picture is turned."""
    transpose, *flips = ORIENTATIONS[orientation]
    mask = read_mask(sample.mask).pixels
    stored = upright[::-1] if transpose else upright
    if (transpose or any(flips)) and mask.shape == stored:
        if stored == upright and mask.any():
            raise DataError(
                f"{sample.mask}: {sample.image.name} is turned by its EXIF orientation, and "
                "whether the mask is cannot be told; save the picture upright, without the tag."
            )
        mask = (mask.T if transpose else mask)[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
    if upright != mask.shape:
        raise DataError(
            f"{sample.mask}: mask is {mask.shape[0]} x {mask.shape[1]} px, its picture "
            f"{sample.image.name} {upright[0]} x {upright[1]} px (rows x columns)."
        )
    return np.ascontiguousarray(mask)


def _read_rows(file: Path) -> tuple[Row, ...]:
    """Return the rows of a manifest as they stand; only the columns are checked."""
    table = read_csv(file, COLUMNS)
    if strange := set(table.columns) - set(COLUMNS):
        raise DataError(
            f"{file}: row 1: columns must be {', '.join(COLUMNS)}, got {', '.join(sorted(strange))}"
            " besides."
        )
    return table.rows


def _read_row(row: Mapping[str, str], folders: Sequence[Path], where: str, check: bool) -> Sample:
    """Return the checked sample of one CSV row."""
    for column in ("image", "mask"):
        path = _place(folders, row[column])
        if not path.is_file():
            raise DataError(
                f"{where}: column `{column}`: there is no file {path}; give `--root`, the folder "
                "that the paths are relative to, or index the folder again."
            )
        expected = row[f"{column}_sha256"]
        if check and expected and sha256_of(path) != expected:
            raise DataError(
                f"{where}: column `{column}_sha256`: {path} is not the file that was indexed; "
                "index the folder again if the change was meant."
            )
    try:
        values = {column: str(row[column]) for column in COLUMNS[2:]}
        image, mask = (_place(folders, row[column]) for column in ("image", "mask"))
        return Sample(image=image, mask=mask, **values)  # type: ignore[arg-type]
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _place(folders: Sequence[Path], name: str | None) -> Path:
    """Return the path of a manifest's row: below the first folder that has it, else the first."""
    plain = str(name).replace("\\", "/")  # as written on Windows
    paths = [folder / each for folder in folders for each in (str(name), plain)]
    return next((path for path in paths if path.is_file()), paths[0])


def _folders(file: Path, root: Path | None) -> tuple[Path, ...]:
    """Return where the files of a manifest may lie: the root that was given, and beside it."""
    return (file.parent,) if root is None else (root, file.parent)


def find_sets(root: Path) -> dict[str, Path]:
    """Return set name -> folder for ``root`` itself or the sets directly below it."""
    if not root.is_dir():
        raise DataError(f"data root `{root}` must be a folder; there is none of this name.")
    folders = [root, *sorted(path for path in root.iterdir() if _may_be_set(path))]
    sets = {
        folder.resolve().name: folder
        for folder in folders
        if (folder / "images").is_dir() and (folder / "masks").is_dir()
    }
    if not sets:
        raise DataError(
            f"{root} holds no data: expected folders `images` and `masks`, in it or one level down."
        )
    return sets


def _may_be_set(folder: Path) -> bool:
    return folder.is_dir() and not is_of_system(folder.name)


def own_licence(folder: Path) -> str:
    """Return the licence that a set states, "unstated" where it states none."""
    try:
        about = json.loads((folder / ORIGIN).read_text(encoding="utf-8-sig"))
        return str(about["licence"]) or "unstated"
    except FileNotFoundError:
        return "unstated"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"`{folder / ORIGIN}` names no licence: {error}.") from error


def _index_set(folder: Path, name: str, split: str, licence: str, refuse: Refuse) -> list[Sample]:
    """Return the samples of one set, without hashes, in order of stem."""
    images, masks = by_stem(folder / "images"), by_stem(folder / "masks")
    listed = _read_lists(folder)
    splits = listed or dict.fromkeys([*images, *masks], split)
    sites = read_sites(folder / SITES)
    full = next((n for n in sites if n not in images and Path(n).stem in images), None)
    if full is not None:
        raise DataError(f"{folder / SITES}: `{full}` must be a stem, `{Path(full).stem}`.")
    # A misspelt stem would part its structure by the split, and every score be too good.
    for stem in sorted(sites.keys() - images.keys()):
        refuse(DataError(f"{folder / SITES}: there is no picture with the stem `{stem}`."))
    samples = []
    for stem in sorted(splits):
        missing = [n for n, files in (("images", images), ("masks", masks)) if stem not in files]
        if missing:
            where = folder / missing[0]
            text = f"{where}: there is no picture with the stem `{stem}`{beside(where, stem)}."
            refuse(DataError(text) if listed else NoPartner(text, f"{name}/{stem}"))
            continue
        samples.append(
            Sample(
                image=images[stem],
                mask=masks[stem],
                source=name,
                split=splits[stem],  # type: ignore[arg-type]
                site=sites.get(stem, ""),
                licence=licence,
            )
        )
    return samples


def beside(folder: Path, stem: str) -> str:
    """Return what to say of a picture that may have been meant by a stem, "" where there is none.

    Its form is not read, or its stem is written otherwise.
    """
    for path in all_below(folder):
        if path.suffix.lower() not in PICTURES or path.stem.casefold() != stem.casefold():
            continue
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            return (
                f", and `{path.name}` is of a form that is not read: save it as JPEG, PNG or TIFF"
            )
        return f", and `{path.name}` is written otherwise: rename one"
    return ""


def by_stem(folder: Path) -> dict[str, Path]:
    """Return stem -> file of the pictures in a folder, refusing two files of one stem."""
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or is_of_system(path.name):
            continue
        if path.stem in paths:
            raise DataError(
                f"{folder}: `{paths[path.stem].name}` and `{path.name}` share a stem, so a mask "
                "cannot be paired; rename one."
            )
        paths[path.stem] = path
    return paths


def has_lists(folder: Path) -> bool:
    """Return whether lists of a set say which of its pictures are learned from and judged by."""
    return bool(_read_lists(folder))


def _read_lists(folder: Path) -> dict[str, str]:
    """Return stem -> split from the lists of a set; empty when it has none."""
    splits: dict[str, str] = {}
    for split in SPLITS:
        file = folder / f"{split}.txt"
        if not file.is_file():
            continue
        for stem in filter(None, map(str.strip, read_text(file).splitlines())):
            if stem in splits:
                raise DataError(f"{file}: `{stem}` is also listed in {splits[stem]}.txt.")
            splits[stem] = split
    return splits


def read_sites(file: Path) -> dict[str, str]:
    """Return stem -> site; empty when there is no such file."""
    if not file.is_file():
        return {}
    table = read_csv(file, ("stem", "site"))
    if len(table.columns) > 2:
        raise DataError(f"{file}: row 1: columns must be stem, site, got {table.columns}.")
    sites: dict[str, str] = {}
    for row in table.rows:
        stem, site = row.cells["stem"], row.cells["site"]
        if sites.setdefault(stem, site) != site:
            raise DataError(
                f"{file}: row {row.line}: `{stem}` is of site `{sites[stem]}` in a row above, and "
                f"of `{site}` here; keep one of them."
            )
    return sites


def _hold_out(samples: list[Sample], share: float) -> list[Sample]:
    """Return the samples with the last ``share`` of train moved to val, unless val exists."""
    if not 0 <= share < 1:
        raise DataError(f"`hold_out` must be a share in [0, 1), got {share}; 0.15 is usual.")
    train = [sample for sample in samples if sample.split == "train"]
    if share == 0 or not train or any(sample.split == "val" for sample in samples):
        return samples
    groups = sorted({_group(sample) for sample in train})
    held_out: set[tuple[str, str]] = set()
    while len(groups) > 1 and sum(_group(s) in held_out for s in train) < share * len(train):
        held_out.add(groups.pop())
    return [
        dataclasses.replace(s, split="val") if s.split == "train" and _group(s) in held_out else s
        for s in samples
    ]


def _group(sample: Sample) -> tuple[str, str]:
    """Return what stays on one side of a split: the site, in all sets, or the picture by itself."""
    return ("", sample.site) if sample.site else (sample.source, sample.image.stem)


def _with_hashes(sample: Sample) -> Sample:
    return dataclasses.replace(
        sample, image_sha256=sha256_of(sample.image), mask_sha256=sha256_of(sample.mask)
    )
