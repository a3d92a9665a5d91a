"""The report as one HTML file that opens offline, on a telephone too, and prints well."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from crackseg.exports.page import templates
from crackseg.exports.wording import plain_length
from crackseg.reporting import cells, sums
from crackseg.reporting.content import Content
from crackseg.reporting.plan import FREE_COLOUR, UNJUDGED_COLOUR, Plan, bin_colour
from crackseg.survey import WidthBins
from crackseg.words import Words

MOST_CRACKS = 2000  # rows; more make a page that no telephone scrolls
_MAP_PX = 1000


def write(content: Content, folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Write ``report.html``."""
    path = folder / "report.html"
    bins = content.gathered.survey.widths
    text = (
        templates("crackseg.reporting")
        .get_template("report.html.j2")
        .render(
            content=content,
            words=content.words,
            embed=_embed,
            thumbs={str(number): _embed(jpeg) for number, jpeg in content.thumbs.items()},
            links=_links(content, path.parent),
            legend=legend(bins, content.words),
            map_svg=None if content.plan is None else Markup(map_svg(content.plan)),
            limit=MOST_CRACKS,
        )
    )
    path.write_text(text, encoding="utf-8", errors="replace")
    return [path]


def legend(bins: WidthBins, words: Words) -> list[tuple[str, str]]:
    """Return what the colours of the map mean: name and colour."""
    named = [name for name in sums.bin_names(bins) if name.isdigit()]
    coloured = [(cells.bin_name(name, bins, words), bin_colour(name, bins)) for name in named]
    free = (words("map.free"), FREE_COLOUR)
    return [(words("map.unjudged"), UNJUDGED_COLOUR), free, *coloured]


def map_svg(plan: Plan) -> str:
    """Return the map as an SVG element."""
    factor = _MAP_PX / (plan.right_m - plan.left_m)
    height = max((plan.top_m - plan.bottom_m) * factor, 60.0)
    radius = max(min(14.0, 0.4 * _MAP_PX / len(plan.spots) ** 0.5), 3.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_MAP_PX} {height + 50:.0f}" '
        'font-family="sans-serif">'
    ]
    for spot in plan.spots:
        x, y = (spot.x_m - plan.left_m) * factor, (plan.top_m - spot.y_m) * factor
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{spot.colour}"/>')
        if radius >= 7:
            parts.append(
                f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" font-size="11" '
                f'fill="#fff">{spot.number}</text>'
            )
    bar, foot = plan.bar_m * factor, height + 30
    label = html.escape(plain_length(1000 * plan.bar_m))
    parts.append(f'<path d="M20 {foot}h{bar:.1f}" stroke="#1d2126" stroke-width="4"/>')
    parts.append(f'<text x="20" y="{foot - 8}" font-size="14" fill="#1d2126">{label}</text></svg>')
    return "".join(parts)


def _links(content: Content, folder: Path) -> dict[str, str]:
    """Return the address of each photograph's own page, seen from the report, where it has one."""
    links = {}
    for photograph in content.gathered.photographs:
        if photograph.folder and (photograph.folder / "page.html").is_file():
            path = os.path.relpath(photograph.folder / "page.html", folder)
            links[photograph.name] = quote(Path(path).as_posix())
    return links


def _embed(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
