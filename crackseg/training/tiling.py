"""Large photographs with masks -> tiles of one size, still in pairs, photograph by photograph.

Tiles of one photograph share a site, so that a later split keeps them together; where the
photographs have a split, their tiles inherit it, and where one is asked for, whole photographs are
dealt to train, val and test. Pixels are copied, never resized.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from crackseg.errors import ConfigError
from crackseg.folders import require_new
from crackseg.imagery.masks import encode_mask
from crackseg.imagery.tiles import plan_axis
from crackseg.records import Sample
from crackseg.training.annotations import ImportOptions, import_annotations
from crackseg.training.areas import FOLDER, encode_areas, read_areas
from crackseg.training.manifest import index_folder, read_label, read_manifest, read_pair
from crackseg.training.set_folder import Facts, fresh, write_facts

PARTS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class TileOptions:
    """How photographs are cut, and how their tiles are shared out."""

    tile_px: int = 512  # side of a tile; a side of the photograph that is shorter is kept whole
    overlap_px: int = 0  # least overlap; tiles are spread evenly, so all have the full size
    empty_share: float = 1.0  # of the tiles without a crack to keep, evenly over the photograph
    # tiles of train, val and test (404, 50, 50), or shares (.8, .1, .1); empty: as photographs say
    split: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.tile_px < 1:
            raise ConfigError(f"`tile_px` must be 1 or larger, got {self.tile_px}; 512 is usual.")
        if self.overlap_px < 0:
            raise ConfigError(f"`overlap_px` must be 0 or larger, got {self.overlap_px}.")
        if not 0 <= self.empty_share <= 1:
            raise ConfigError(f"`empty_share` must lie between 0 and 1, got {self.empty_share}.")
        if self.split and not (
            len(self.split) == len(PARTS)
            and min(self.split) >= 0
            and self.split[0] > 0
            and (self.in_shares or all(float(n).is_integer() for n in self.split))
        ):
            text = "/".join(f"{n:g}" for n in self.split)
            raise ConfigError(
                "`split` must be tiles of train, val and test, as 404/50/50, or shares that make "
                f"1, as 0.8/0.1/0.1; got {text}."
            )

    @property
    def in_shares(self) -> bool:
        """Whether ``split`` holds shares, and not numbers of tiles."""
        return abs(sum(self.split) - 1) < 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Where a tile is cut."""

    sample: Sample
    row: int
    col: int

    @property
    def stem(self) -> str:
        """Name of its files."""
        return f"{self.sample.image.stem}_r{self.row:05}_c{self.col:05}"

    @property
    def site(self) -> str:
        """What it is never parted from."""
        return self.sample.site or self.sample.image.stem


def parse_split(text: str) -> tuple[float, ...]:
    """Return the numbers of ``404/50/50``.

    Raises:
        ConfigError: a part is no number.
    """
    try:
        return tuple(float(part) for part in text.split("/")) if text else ()
    except ValueError as error:
        raise ConfigError(f"`--split` must be numbers, as 404/50/50, got {text!r}.") from error


def cut_tiles(
    samples: Sequence[Sample], out: Path, options: TileOptions | None = None
) -> dict[str, int]:
    """Write a set of tiles (images/, masks/, lists, sites.csv, origin.json); return tiles by part.

    Args:
        samples: photographs with masks.
        out: set to write.
        options: how they are cut and shared out.

    Raises:
        ConfigError: two photographs share a stem, have other licences, or are too few to be parted.
        DataError: a pair is broken.
        OutputError: ``out`` holds something already.
    """
    options = options or TileOptions()
    if len({sample.image.stem for sample in samples}) < len(samples):
        raise ConfigError("two photographs share a stem; tile their sets one by one.")
    licences = sorted({sample.licence for sample in samples} - {"unstated"})
    if len(licences) > 1:
        raise ConfigError(
            f"a set has one licence, got {', '.join(licences)}; tile sets one by one."
        )
    require_new(out)
    lists = share_out([plan_tiles(sample, options) for sample in samples], options)
    of_photograph: dict[Path, list[Tile]] = defaultdict(list)
    for tile in (tile for tiles in lists.values() for tile in tiles):
        of_photograph[tile.sample.image].append(tile)
    with fresh(out) as part:
        for tiles in of_photograph.values():
            _cut_one(tiles, part, options.tile_px)
        for name, tiles in lists.items():
            text = "".join(f"{tile.stem}\n" for tile in tiles)
            (part / f"{name}.txt").write_text(text, encoding="utf-8")
        sites = {tile.stem: tile.site for tiles in lists.values() for tile in tiles}
        write_facts(Facts(licence="".join(licences), sites=sites), part)
        if out.exists():  # an empty folder
            out.rmdir()
        part.rename(out)
    return {name: len(tiles) for name, tiles in lists.items()}


def tile_data(
    data: Path,
    out: Path,
    options: TileOptions,
    *,
    source: tuple[Path, str, ImportOptions] | None = None,
    root: Path | None = None,
) -> dict[str, int]:
    """Cut a set, a manifest, or raw photographs with annotations; return tiles by part.

    Args:
        data: set (images/, masks/), manifest, or with ``source`` the folder of the photographs.
        out: set to write.
        options: how they are cut and shared out.
        source: annotations, their format, and how they are read.
        root: folder that a manifest's paths are relative to.

    Raises:
        ConfigError, DataError, OutputError: as of ``import_annotations`` and ``cut_tiles``.
    """
    require_new(out)
    if source is None:
        if data.is_file():
            return cut_tiles(read_manifest(data, root=root), out, options)
        return cut_tiles(index_folder(data, hashes=False), out, options)
    annotations, format, how = source
    with TemporaryDirectory(prefix=f".{out.name}.", dir=_above(out)) as whole:
        done = import_annotations(
            annotations, data, Path(whole) / data.resolve().name, format=format, options=how
        )
        return cut_tiles(done.samples, out, options)


def _above(out: Path) -> Path:
    """Return the folder that a set is to lie in; what is cut from passes through it."""
    out.resolve().parent.mkdir(parents=True, exist_ok=True)
    return out.resolve().parent


def plan_tiles(sample: Sample, options: TileOptions) -> list[Tile]:
    """Return the tiles of one photograph: all with crack, and the share of those without."""
    mask = read_label(sample)
    rows, cols = (_starts(side, options.tile_px, options.overlap_px) for side in mask.shape)
    tiles, empty = [], 0
    for row in rows:
        for col in cols:
            if not mask[row : row + options.tile_px, col : col + options.tile_px].any():
                empty += 1
                if int(empty * options.empty_share) == int((empty - 1) * options.empty_share):
                    continue
            tiles.append(Tile(sample=sample, row=row, col=col))
    return tiles


def share_out(planned: Sequence[Sequence[Tile]], options: TileOptions) -> dict[str, list[Tile]]:
    """Return the tiles of each part, no photograph (or site) in two.

    Photographs are dealt in the order of their names, train first, in proportion to what each part
    asks for: neighbours of a flight show the same stretch, so that parts are blocks and not mixed.
    Of more tiles than a part asks for, evenly spaced ones are taken.

    Args:
        planned: tiles of each photograph.
        options: of the cut.

    Raises:
        ConfigError: a photograph has a split already, or there are too few.
    """
    if not options.split:
        lists: dict[str, list[Tile]] = defaultdict(list)
        for tile in (tile for tiles in planned for tile in tiles):
            lists[tile.sample.split].append(tile)
        return dict(lists)
    parted = sorted({tile.sample.split for tiles in planned for tile in tiles} - {"train"})
    if parted:
        raise ConfigError(
            f"`--split` is asked for, and the photographs are in {', '.join(parted)} by their "
            "lists already; leave out one of the two."
        )
    groups: dict[str, list[Tile]] = defaultdict(list)
    for tile in sorted((t for tiles in planned for t in tiles), key=lambda t: (t.site, t.stem)):
        groups[tile.site].append(tile)
    dealt = _deal({site: len(tiles) for site, tiles in groups.items()}, options)
    parts = {part: [t for site in sites for t in groups[site]] for part, sites in dealt.items()}
    if options.in_shares:
        return {part: tiles for part, tiles in parts.items() if tiles}
    counts = dict(zip(PARTS, map(int, options.split), strict=True))
    return {
        part: [tiles[k * len(tiles) // counts[part]] for k in range(counts[part])]
        for part, tiles in parts.items()
        if counts[part]
    }


def _deal(counts: Mapping[str, int], options: TileOptions) -> dict[str, list[str]]:
    """Return the sites of each part, as blocks in their order: test last, val before it."""
    sites, total = list(counts), sum(options.split)
    dealt: dict[str, list[str]] = {}
    for part, count in zip(PARTS[:0:-1], options.split[:0:-1], strict=True):
        number = max(round(len(counts) * count / total), 1) if count else 0
        least = 0 if options.in_shares else count
        block: list[str] = []
        while sites and (len(block) < number or sum(counts[site] for site in block) < least):
            block.insert(0, sites.pop())
        dealt[part] = block
    dealt["train"] = sites
    there = [sum(counts[site] for site in dealt[part]) for part in PARTS]
    needs = (1.0, 0.0, 0.0) if options.in_shares else options.split
    if any(have < need for have, need in zip(there, needs, strict=True)):
        raise ConfigError(
            f"`--split` asks for {'/'.join(f'{n:g}' for n in options.split)}, and the "
            f"{len(counts)} photographs (or sites) with tiles, each of them in one part alone, "
            f"give {'/'.join(map(str, there))}; bring more photographs, cut smaller tiles or with "
            "`--overlap-px`, or ask for fewer."
        )
    return {part: dealt[part] for part in PARTS}


def _cut_one(tiles: Sequence[Tile], out: Path, tile_px: int) -> None:
    """Write tiles of one photograph."""
    picture, mask = read_pair(tiles[0].sample)
    areas = read_areas(tiles[0].sample, mask.shape)
    for tile in tiles:
        where = np.s_[tile.row : tile.row + tile_px, tile.col : tile.col + tile_px]
        bgr = cv2.cvtColor(np.ascontiguousarray(picture[where]), cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".png", bgr)[1].tobytes()
        (out / "images" / f"{tile.stem}.png").write_bytes(data)
        (out / "masks" / f"{tile.stem}.png").write_bytes(encode_mask(mask[where]))
        if areas is not None:
            (out / FOLDER).mkdir(exist_ok=True)
            (out / FOLDER / f"{tile.stem}.png").write_bytes(encode_areas(areas[where]))


def _starts(side_px: int, tile_px: int, overlap_px: int) -> tuple[int, ...]:
    if side_px <= tile_px:
        return (0,)
    return tuple(plan_axis(side_px, tile_px=tile_px, overlap_px=overlap_px, multiple=1).starts)
