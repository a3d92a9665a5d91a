"""Settings that somebody wrote down and that change nothing there become sentences.

A setting without an effect is most often a slip: its author believes that it acts. Defaults are
no such settings, so the tables are looked at as they were written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crackseg.config import AnalyzeOptions, EngineOptions

Rule = tuple[str, bool, str]  # setting, whether it is idle, why
_OF_THE_NETWORK = "no network reads a mask"


def idle_settings(values: Mapping[str, Any], rules: Iterable[Rule]) -> list[str]:
    """Return a sentence for each setting that was written and is idle.

    Args:
        values: tables as they were written; a dot in a rule's setting leads into one.
        rules: what is idle here, and why.

    Example:
        >>> idle_settings({"predict": {"batch": 4}}, [("predict.batch", True, "there is one tile")])
        ['`predict.batch` has no effect: there is one tile.']
    """
    return [
        f"`{name}` has no effect: {why}."
        for name, idle, why in rules
        if idle and _has(values, name)
    ]


def idle_in_analysis(
    values: Mapping[str, Any], options: AnalyzeOptions, engine: EngineOptions
) -> list[str]:
    """Return what has no effect in an analysis.

    Args:
        values: as written, with the table ``engine``.
        options: what became of them.
        engine: who does the work.
    """
    alone = engine.name == "processes"
    predict = options.predict
    return idle_settings(
        values,
        (
            *_of_scale(options),
            *_of_regions(options),
            ("predict.reread_from", predict.readings == 1, "each tile is read once"),
            (
                "predict.workers",
                not alone,
                "`engine.actors` says how many photographs go side by side on a cluster",
            ),
            *(
                (f"engine.{name}", alone, 'it is of a cluster; set `engine.name` to "ray", too')
                for name in ("cpus_per_actor", "gpus_per_actor", "attempts")
            ),
        ),
    )


def idle_in_measure(values: Mapping[str, Any], options: AnalyzeOptions) -> list[str]:
    """Return what has no effect where a mask is measured, which no network has to find."""
    return idle_settings(
        values,
        (
            *_of_scale(options),
            *_of_regions(options),
            ("model", True, _OF_THE_NETWORK),
            *((f"predict.{name}", True, _OF_THE_NETWORK) for name in values.get("predict", ())),
            *(
                (f"mask.{name}", True, "a mask holds no probabilities; `--values` says what counts")
                for name in ("threshold", "threshold_low")
            ),
            *((f"engine.{name}", True, "one mask is measured, here") for name in _table(values)),
        ),
    )


def _table(values: Mapping[str, Any]) -> Mapping[str, Any]:
    table = values.get("engine", {})
    return table if isinstance(table, Mapping) else {}


def _of_scale(options: AnalyzeOptions) -> list[Rule]:
    """Return which settings of a source of the scale are idle, as the source is not used."""
    tables = [table for table in options.picture_scale.values() if isinstance(table, Mapping)]
    of_source = {
        "mm_per_px": ("mm_per_px_sigma_rel",),
        "distance_m": ("distance_sigma_rel",),
        "marker_mm": ("marker_dictionary",),
    }
    return [
        (
            f"scale.{name}",
            getattr(options.scale, source) is None and not any(source in t for t in tables),
            f"`scale.{source}` is not given",
        )
        for source, names in of_source.items()
        for name in names
    ]


def _of_regions(options: AnalyzeOptions) -> list[Rule]:
    none = options.region.region is None and options.region.ignore is None
    why = "neither `region.region` nor `region.ignore` is given, which may name joints"
    return [(f"region.{name}", none, why) for name in ("joint_reach_px", "joint_share")]


def _has(values: Mapping[str, Any], name: str) -> bool:
    table: Any = values
    for part in name.split("."):
        if not isinstance(table, Mapping) or part not in table:
            return False
        table = table[part]
    return True
