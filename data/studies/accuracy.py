"""Measure the accuracy of lengths and widths: ``python data/studies/accuracy.py [FIELD_CSV]``.

Writes ``docs/accuracy.md`` and ``docs/accuracy.png``. Needs the extra ``train`` (matplotlib).
Without the field measurements their section says so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crackseg.config import MaskOptions, MeasureOptions, ScaleOptions
from crackseg.imagery.scale import find_scale
from crackseg.metrology import width as width_code
from crackseg.metrology.cracks import measure
from crackseg.metrology.field_widths import FieldWidths, read_field_widths, score, score_text
from crackseg.metrology.phantoms import Look, Phantom, draw, straight
from crackseg.metrology.width import widths_from_profiles
from crackseg.records import Crack, ImageInfo, Measure, Scale, Window

sys.path.insert(0, str(Path(__file__).parents[1]))
from oblique_phantoms import oblique_homography, put_marker, seen_through

Array = NDArray[Any]
DOCS = Path(__file__).parents[2] / "docs"
WIDTHS_PX = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 30.0, 40.0)
ANGLES_DEG = tuple(np.arange(0, 90.1, 7.5))
OFFSETS = ((0.0, 0.0), (0.3, 0.1), (0.5, 0.5), (0.1, 0.7), (0.8, 0.4))
BLURS_PX = (0.5, 1.0, 1.5)
LENGTH_PX = 120.0


def window_of(picture: Array) -> Callable[[Window], Array]:
    """Return what reads a window of the picture."""
    return lambda window: np.asarray(picture[window.slices])


def cracks_of(
    mask: Array, picture: Array | None = None, scale: Scale | None = None
) -> tuple[Crack, ...]:
    """Return the cracks of a mask with the default options."""
    return measure(
        mask,
        image=None if picture is None else window_of(picture),
        scale=scale,
        mask_options=MaskOptions(),
        options=MeasureOptions(),
    )[0]


def phantoms(width: float, contrast: float = Look().contrast) -> Iterator[Phantom]:
    """Yield the phantoms of the sweep for one width: every angle, offset and, in turn, blur."""
    size = int(LENGTH_PX + 2 * width + 60)
    for number, angle in enumerate(ANGLES_DEG):
        for k, (row, col) in enumerate(OFFSETS):
            stroke = straight((size / 2 + row, size / 2 + col), angle, LENGTH_PX, width)
            look = Look(blur_px=BLURS_PX[(number + k) % 3], contrast=contrast)
            yield draw((size, size), [stroke], look, np.random.default_rng([number, k]))


def holds(measure: Measure, width: float) -> bool:
    """Say whether the interval of a measure holds a width."""
    return measure.high_px is not None and (measure.low_px or 0) <= width <= measure.high_px


def sweep(width: float, *, photograph: bool, contrast: float = Look().contrast) -> Array:
    """Return (N, 3): relative length error, width error in px (nan: none), whether it is held."""
    rows = []
    for phantom in phantoms(width, contrast):
        crack = cracks_of(phantom.mask, phantom.picture if photograph else None)[0]
        mean = crack.width_mean
        error = np.nan if mean.px is None else mean.px - width
        rows.append(((crack.length.px or 0) / LENGTH_PX - 1, error, float(holds(mean, width))))
    return np.array(rows, dtype=float)


def sweep_rows(results: dict[float, tuple[Array, Array]]) -> str:
    """Return the table of the sweep."""
    lines = [
        "| width px | length bias % | largest % | width bias px | MAE px | largest px | in U "
        "| from the mask: length bias % | width MAE px |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for width, (image, mask) in results.items():
        length, error, within = image.T
        resolved = np.isfinite(mask[:, 1]).mean() > 0.5
        mae = (
            f"{np.nanmean(np.abs(mask[:, 1])):.2f}" if resolved and width >= 2 else "not resolvable"
        )
        lines.append(
            f"| {width:g} | {100 * length.mean():+.2f} | {100 * np.abs(length).max():.2f} "
            f"| {np.nanmean(error):+.3f} | {np.nanmean(np.abs(error)):.3f} "
            f"| {np.nanmax(np.abs(error)):.2f} | {within.mean():.0%} "
            f"| {100 * mask[:, 0].mean():+.2f} | {mae} |"
        )
    return "\n".join(lines)


def contrast_rows() -> str:
    """Return the table of width errors against the darkness of the interior."""
    contrasts = (0.4, 0.6, 0.8, 0.93, 1.0)
    lines = ["| width px | " + " | ".join(f"{c:g}" for c in contrasts) + " |", "|---" * 6 + "|"]
    for width in (1.0, 2.0, 3.0, 4.0, 8.0):
        errors = [np.nanmean(sweep(width, photograph=True, contrast=c)[::3, 1]) for c in contrasts]
        lines.append(f"| {width:g} | " + " | ".join(f"{error:+.2f}" for error in errors) + " |")
    return "\n".join(lines)


def interior_rows() -> str:
    """Return the table of intervals that hold the width, by width and grey of the interior."""
    greys, background = (20, 40, 60, 80, 95, 110), 150.0
    lines = ["| width px | " + " | ".join(map(str, greys)) + " |", "|---" * (len(greys) + 1) + "|"]
    for width in (0.8, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 4.0, 6.0):
        cells = []
        for grey in greys:
            means = []
            for seed, angle in enumerate((3, 20, 41, 66, 90)):
                stroke = straight((110.3, 110.4), angle, 180, width)
                look = Look(
                    background=background,
                    contrast=1 - grey / background,
                    blur_px=(0.6, 0.7, 0.8, 0.9, 1.0)[seed],
                    noise=0.013,
                )
                phantom = draw((220, 220), [stroke], look, np.random.default_rng(seed))
                means.append(cracks_of(phantom.mask, phantom.picture)[0].width_mean)
            share = np.mean([holds(mean, width) for mean in means])
            ends = np.mean([(mean.low_px, mean.high_px) for mean in means], axis=0)
            cells.append(f"{share:.0%} ({ends[0]:.1f} to {ends[1]:.1f})")
        lines.append(f"| {width:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rough_rows() -> str:
    """Return the table of errors where the mask is not that of the crack."""

    def moved(shift: float, rough: float) -> Callable[[Array, np.random.Generator], Array]:
        def change(mask: Array, rng: np.random.Generator) -> Array:
            noise = ndimage.gaussian_filter(rng.normal(size=mask.shape), 2.0)
            edge = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
            edge += shift - 0.5 * np.sign(edge) + rough * noise / noise.std()
            label, _ = ndimage.label(edge > 0, np.ones((3, 3)))
            return np.isin(label, np.unique(label[mask & (label > 0)]))

        return change

    lines = [
        "| mask | width px | largest length error % | width error px, mean and largest |",
        "|---|---|---|---|",
    ]
    for name, change, width in (
        ("3 px fatter on either side", moved(3, 0), 2.0),
        ("2 px fatter, ragged by 0.8 px", moved(2, 0.8), 4.0),
        ("1 px leaner", moved(-1, 0), 6.0),
        ("1 px leaner, ragged by 0.6 px", moved(-1, 0.6), 8.0),
    ):
        rows = []
        for k, phantom in enumerate(list(phantoms(width))[::4]):
            mask = change(phantom.mask, np.random.default_rng(k))
            crack = cracks_of(mask, phantom.picture)[0]
            rows.append(
                ((crack.length.px or 0) / LENGTH_PX - 1, (crack.width_mean.px or 0) - width)
            )
        length, error = np.array(rows).T
        lines.append(
            f"| {name} | {width:g} | {100 * np.abs(length).max():.1f} "
            f"| {error.mean():+.2f}, {np.abs(error).max():.2f} |"
        )
    return "\n".join(lines)


def oblique_rows() -> str:
    """Return the table of errors on a face seen at 35 degrees."""
    shape, mm_per_px = (500, 700), 0.4
    homography = oblique_homography(shape, mm_per_px, 35)
    info = ImageInfo(
        path=Path("face.jpg"), sha256="", height_px=shape[0], width_px=shape[1], format="JPEG"
    )
    uniform = Scale(mm_per_px=mm_per_px, sigma_rel=0, source="given")
    lines = [
        "| direction on the face | by the marker: length %, width % | by one scale for all |",
        "|---|---|---|",
    ]
    for angle in (0, 30, 60, 90, 120, 150):
        face = straight((6.0, -15.0), angle, 120, 2.4)
        stroke = seen_through(face, homography)
        phantom = draw(shape, [stroke], Look(), np.random.default_rng(angle))
        picture = put_marker(phantom.picture, homography, (60, -75), 40)
        plane, _ = find_scale(info, ScaleOptions(marker_mm=40), window_of(picture))
        cells = []
        for scale in (plane, uniform):
            crack = cracks_of(phantom.mask, picture, scale)[0]
            length, wide = (crack.length.mm or 0) / 120 - 1, (crack.width_mean.mm or 0) / 2.4 - 1
            cells.append(f"{100 * length:+.1f}, {100 * wide:+.1f}")
        lines.append(f"| {angle}° | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def cross_validate(field: FieldWidths) -> str:
    """Return the table of constants fitted on one site and scored on the other."""
    sizes = np.array([len(profile) for profile in field.profiles])
    site = np.array(field.site)

    def measured_at(interior: float) -> tuple[Array, Array, Array, Array]:
        width, noise, model, up = np.empty((4, len(sizes)))
        for size in np.unique(sizes):
            chosen = np.flatnonzero(sizes == size)
            profiles = np.stack([field.profiles[k] for k in chosen])
            result = widths_from_profiles(profiles, None, np.full(len(chosen), interior))
            width[chosen], noise[chosen] = result.width_px, result.noise_u_px
            model[chosen] = (1 - result.shown) * result.width_px
            free = widths_from_profiles(profiles)  # the interior of a new site is not known
            up[chosen] = free.lighter_px
        return width, noise, model, up

    def holds_truth(case: tuple[Array, Array, Array, Array], u: Array) -> Array:
        error = field.width_px - case[0]
        inside: Array = (error >= -2 * u) & (error <= np.hypot(2 * u, case[3]))
        return inside

    def u_of(case: tuple[Array, Array, Array, Array], floor: float, share: float) -> Array:
        width, noise, unseen, _ = case
        interior = unseen * width_code.INTERIOR_U / width_code.INTERIOR
        u: Array = np.sqrt(noise**2 + floor**2 + (share * np.minimum(width, 6)) ** 2 + interior**2)
        return u

    interiors = np.arange(0.80, 1.001, 0.01)
    cases = {float(level): measured_at(float(level)) for level in interiors}
    lines = [
        "| fitted on | interior | floor px, share | scored on | MAE px | within 0.1 mm | in U |",
        "|---|---|---|---|---|---|---|",
    ]
    for fit in sorted(set(field.site)):
        here, there = site == fit, site != fit
        best = min(cases, key=lambda c: float(np.abs(cases[c][0] - field.width_px)[here].mean()))
        error = np.abs(cases[best][0] - field.width_px)
        pairs = [(a, b) for a in np.arange(0.04, 0.32, 0.02) for b in np.arange(0.02, 0.2, 0.01)]
        fits = [
            (float(u_of(cases[best], a, b)[here].mean()), a, b)
            for a, b in pairs
            if holds_truth(cases[best], u_of(cases[best], a, b))[here].mean() >= 0.95
        ]
        _, floor, share = min(fits)
        u = u_of(cases[best], floor, share)
        lines.append(
            f"| {fit} ({here.sum()}) | {best:.2f} | {floor:.2f}, {share:.2f} "
            f"| the other ({there.sum()}) | {error[there].mean():.3f} "
            f"| {np.mean((error * field.mm_per_px)[there] <= 0.1):.1%} "
            f"| {np.mean(holds_truth(cases[best], u)[there]):.1%} |"
        )
    return "\n".join(lines)


def plot(results: dict[float, tuple[Array, Array]], path: Path) -> None:
    """Draw length and width errors over the width."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    widths = np.array(list(results))
    for column, axis, factor, label in (
        (0, axes[0], 100, "length error, %"),
        (1, axes[1], 1, "mean width error, px"),
    ):
        for source, name, colour in ((0, "photograph", "C0"), (1, "mask alone", "C1")):
            values = [factor * pair[source][:, column] for pair in results.values()]
            resolved = np.array([np.isfinite(v).mean() > 0.5 for v in values])
            at = [v[np.isfinite(v)] for v, k in zip(values, resolved, strict=True) if k]
            middle = [np.mean(v) for v in at]
            low, high = ([np.percentile(v, p) for v in at] for p in (2.5, 97.5))
            axis.plot(widths[resolved], middle, "o-", ms=3, color=colour, label=name)
            axis.fill_between(widths[resolved], low, high, alpha=0.2, color=colour, lw=0)
        axis.axhline(0, color="k", lw=0.6)
        axis.set(xscale="log", xlabel="width of the crack, px", ylabel=label)
        axis.set_xticks([0.5, 1, 2, 4, 8, 20, 40], ["0.5", "1", "2", "4", "8", "20", "40"])
        axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


TEXT = """# Accuracy of lengths and widths

Written by `python data/studies/accuracy.py FIELD_WIDTHS.csv`; the tests in `tests/metrology` assert
the bounds. Two parts have commands of their own, named there.

How certain a mark is a crack at all is told in [](certainty.md), from which width on
cracks are found in [](detection.md).

## Phantoms

Straight cracks of 120 px, angles 0° to 90° in steps of 7.5°, five sub-pixel offsets, blur 0.5, 1.0
and 1.5 px, noise 3 %, interior at 7 % of the surroundings; {count} pictures a width. Widths are
means over the crack. *In U*: share of cracks whose width lies within the stated 95 % interval.

{sweep}

![length and width errors over the width of the crack](accuracy.png)

The band holds 95 % of the pictures. Along a row or a column a mask is a whole number of pixels
wide, so a mask alone may be up to half a pixel off there whatever is done with it.

### What a thin crack does not show

How dark the interior is can be seen at one place of a crack about four times as wide as the blur,
and in the mean profile of a line from about two and a half times on; of a thinner crack only the
product of width and darkness is in the picture. Its interior is taken to return {left:.0%} of the
light of the surroundings (measured below) unless a wide part of the same line shows it. Where that
is wrong the width is wrong by the same factor. Mean width error in px for interiors that are 40 %
to 100 % dark:

{contrast}

Where the darkness is not seen, the stated interval reaches up to what the crack would be with an
interior that is {lightest:.0%} dark, or as dark as its profile shows it to be at least; where it is
seen on part of the crack, that holds for all of it. Share of cracks in concrete of grey 150 whose
width lies in the interval, by the grey of the interior, and the mean interval in px:

{interiors}

Pencil marks, and cracks filled with something still lighter, are outside it: in the same concrete
2 px of grey 121 read 0.4 (0 to 1.6), 3 px 0.6 (0.3 to 2.3), as a black hair would.

### Masks that are not the crack's

{rough}

## A face seen at 35°

A crack of 120 mm by 2.4 mm, 0.4 mm a pixel, with an ArUco marker of
40 mm in view; errors by that marker and with one scale for all:

{oblique}

## Field measurements

{field}
"""

FIELD_TEXT = """{count} cracks measured on real walls (0.05 to 0.85 mm), one profile each, through
the same code, by `crackseg evaluate-widths FIELD_WIDTHS.csv`:

```
{scores}
```

*down* and *up* are how far the stated interval reaches in the mean. It holds what the reading on
the wall is off by as well: the readings are in steps of 0.05 mm, a third of a pixel here. A
symmetric interval (floor 0.18 px, share 0.11) is 1.17 px long and holds 96.0 %, 94.7 % at 1 to
2 px; what it misses reads too little, as cracks that are not black inside do.

Three constants come from these cracks: the darkness of the interior, and the floor and share of
the uncertainty. Nothing else is fitted, nothing depends on the site. Fitted on one site alone and
scored on the other:

{cross}

Used: interior {interior:g}, between the best for these sites and the black of a drawn or wet
crack, which costs 0.01 px here; floor {floor:g} px and share {share:g}, over
both fits, since other sites hold less.

An edge is taken half way between the grey values as they are stored. A lens blurs the light
itself, of which sRGB stores a curve; but cameras sharpen, and bend their curves. With the profiles
decoded to linear light first, these cracks read {linear:+.2f} px off in the mean, those of 4 px
and more {linear_wide:+.2f} px: the stored values agree with the wall. A picture that is linear
light, sRGB-encoded and no more (a rendering, perhaps a raw file), reads 0.7 to 1.9 px too thin from
2 px on where it is drawn so.
"""


def to_linear(grey: Array) -> Array:
    """Return sRGB grey values 0..255 as linear light of the same range."""
    share = np.clip(grey / 255, 0, 1)
    curved = ((share + 0.055) / 1.055) ** 2.4
    return 255 * np.where(share <= 0.04045, share / 12.92, curved)


def field_section(path: Path | None) -> str:
    """Return the section on field measurements."""
    if path is None or not path.exists():
        return "Not run: the file of field measurements was not given."
    field = read_field_widths(path)
    linear = replace(field, profiles=tuple(to_linear(profile) for profile in field.profiles))
    scores = score(linear)
    return FIELD_TEXT.format(
        count=len(field.site),
        scores=score_text(score(field)),
        cross=cross_validate(field),
        interior=width_code.INTERIOR,
        floor=width_code.MODEL_U_PX,
        share=width_code.MODEL_U_REL,
        linear=scores["bias_px"],
        linear_wide=scores["by_bin"][-1]["bias_px"],
    )


JOINS = """
## Joined pieces

Counted by `python data/studies/joins.py FOLDER_OF_THE_SETS data/studies/joins.md`, by the
photograph alone (no probability), on training and validation pictures. *Cut*: 5 to 150 px taken
out of a label, where that leaves two tips away from the border; the share joined should be high.
The others are drawn into pictures without a crack; none of them should be joined. Gaps up to 12 px
are those that a mask alone bridges: where the photograph is not asked, 91 % of those on plain
concrete are; what is left of them are mostly tips that the marks bring within 4 px. *In line with a
joint* is the hardest: the photograph does show a dark line all the way, only straighter; a *worn*
joint is uneven in course and width.

{table}"""


def main(field: Path | None) -> None:
    """Write the page and its plot."""
    results = {
        width: (sweep(width, photograph=True), sweep(width, photograph=False))
        for width in WIDTHS_PX
    }
    DOCS.mkdir(exist_ok=True)
    plot(results, DOCS / "accuracy.png")
    text = TEXT.format(
        count=len(ANGLES_DEG) * len(OFFSETS),
        sweep=sweep_rows(results),
        left=1 - width_code.INTERIOR,
        lightest=width_code.LIGHTEST,
        interiors=interior_rows(),
        contrast=contrast_rows(),
        rough=rough_rows(),
        oblique=oblique_rows(),
        field=field_section(field),
    )
    beside = Path(__file__).parent
    text += JOINS.format(table=(beside / "joins.md").read_text(encoding="utf-8"))
    text += (beside / "scenes.md").read_text(encoding="utf-8")
    (DOCS / "accuracy.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
