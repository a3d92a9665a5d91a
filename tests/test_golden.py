"""One rounded report per sample photograph: what changes in it is looked at, never passes unseen.

The files of ``tests/golden`` are written anew by ``pytest tests/test_golden.py --write-golden``;
their difference in the commit is the review. Numbers may move by what processors differ in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crackseg.inference.models import shipped_models

GOLDEN = Path(__file__).parent / "golden"
SAMPLES = sorted((Path(__file__).parent.parent / "data" / "samples").glob("*.[jp][pn]g"))
LEFT_OUT = {"timing_s", "options", "path", "sha256", "card_sha256", "package_version"}
# Thousands of numbers; their sums stand beside them.
LINES = {"centre_line", "width_profile_px", "branch_kinds", "branch_nodes", "outlines"}
REL, ABS = 0.005, 0.05  # a kernel that sums in another order moves a mask's edge by a pixel or two

pytestmark = pytest.mark.skipif(not shipped_models(), reason="the package holds no model")


@pytest.mark.parametrize("name", [path.name for path in SAMPLES])
def test_the_report_is_the_reviewed_one(
    name: str, sample_reports: dict[str, dict[str, Any]], pytestconfig: pytest.Config
) -> None:
    file = GOLDEN / f"{Path(name).stem}.json"
    report = rounded(sample_reports[name])
    if pytestconfig.getoption("--write-golden"):
        file.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    differences = list(differing(json.loads(file.read_text(encoding="utf-8")), report, name))
    assert not differences, "\n".join(differences)


def rounded(value: Any, key: str = "") -> Any:
    """Return a report without what differs from run to run, numbers to three decimals."""
    if isinstance(value, dict):
        return {k: rounded(v, k) for k, v in value.items() if k not in LEFT_OUT | LINES}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value


def differing(expected: Any, got: Any, where: str) -> list[str]:
    """Return a line for each place where two reports differ by more than the tolerance."""
    if isinstance(expected, dict) and isinstance(got, dict):
        keys = sorted(expected.keys() | got.keys())
        pairs = [(expected.get(k, "no key"), got.get(k, "no key"), f"{where}.{k}") for k in keys]
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = [
            (e, g, f"{where}[{k}]") for k, (e, g) in enumerate(zip(expected, got, strict=True))
        ]
    else:
        return [] if _same(expected, got) else [f"{where}: expected {expected!r}, got {got!r}"]
    return [line for pair in pairs for line in differing(*pair)]


def _same(expected: Any, got: Any) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (expected, got))
    return bool(got == pytest.approx(expected, rel=REL, abs=ABS)) if numbers else expected == got


def test_a_drift_is_seen() -> None:
    before = {"cracks": [{"length_px": 100.0, "flags": ["bridged"]}]}
    assert differing(before, {"cracks": [{"length_px": 100.4, "flags": ["bridged"]}]}, "") == []
    assert len(differing(before, {"cracks": [{"length_px": 101.0, "flags": []}]}, "")) == 2
    assert len(differing(before, {"cracks": []}, "")) == 1
