"""Check an installation: versions, the shipped model, its probe, and a phantom of known size."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from crackseg import __version__
from crackseg.config import MaskOptions, MeasureOptions
from crackseg.errors import CracksegError
from crackseg.inference.choosing import tolerance
from crackseg.inference.models import has_eight_bit, load_model, shipped_models
from crackseg.inference.runtimes import PROBE_TOLERANCE, check_probe
from crackseg.metrology.cracks import measure
from crackseg.metrology.phantoms import Look, draw, straight
from crackseg.records import Array, Window

PACKAGES = ("numpy", "scipy", "opencv-python-headless", "pillow", "onnxruntime")
PHANTOM_LENGTH_PX, PHANTOM_WIDTH_PX, PHANTOM_ANGLE_DEG = 300.0, 4.0, 22.5
LENGTH_BOUND = 0.02  # of the length, as for the sample photographs
WIDTH_BOUND_PX = 0.3


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, whether it holds, and the figures."""

    name: str
    ok: bool
    detail: str


def check_all() -> list[Check]:
    """Return every check; one that fails does not stop the others."""
    steps: dict[str, Callable[[], tuple[bool, str]]] = {
        "versions": _versions,
        **{f"model {name}": _model_check(name) for name in shipped_models() or ["default"]},
        "phantom": _phantom,
    }
    checks = []
    for name, step in steps.items():
        try:
            ok, detail = step()
        except CracksegError as error:
            ok, detail = False, str(error)
        checks.append(Check(name, ok, detail))
    return checks


def _versions() -> tuple[bool, str]:
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    python = f"Python {platform.python_version()}"
    return True, ", ".join([f"crackseg {__version__}", python, *versions])


def _model_check(name: str) -> Callable[[], tuple[bool, str]]:
    def check() -> tuple[bool, str]:
        model = load_model(name)
        difference = check_probe(model)
        digest = model.card.sha256["model.onnx"][:12]
        detail = f"files match the card (model.onnx {digest}), probe differs by {difference:.1e}"
        ok, detail = difference <= PROBE_TOLERANCE, f"{detail}, allowed {PROBE_TOLERANCE:.0e}"
        if has_eight_bit(model.card):
            away, allowed = check_probe(model, precision="int8"), tolerance(model, "int8")
            ok, detail = ok and away <= allowed, f"{detail}; 8 bit {away:.1e}, allowed {allowed:g}"
        return ok, detail

    return check


def _phantom() -> tuple[bool, str]:
    stroke = straight((100, 180), PHANTOM_ANGLE_DEG, PHANTOM_LENGTH_PX, PHANTOM_WIDTH_PX)
    phantom = draw((200, 360), [stroke], Look(), np.random.default_rng(0))

    def read(window: Window) -> Array:
        return phantom.picture[window.slices]

    cracks, _ = measure(
        phantom.mask, image=read, mask_options=MaskOptions(), options=MeasureOptions()
    )
    if len(cracks) != 1 or cracks[0].length.px is None or cracks[0].width_mean.px is None:
        return False, f"expected one measured crack, got {len(cracks)}"
    length, width = cracks[0].length.px, cracks[0].width_mean.px
    ok = abs(length / PHANTOM_LENGTH_PX - 1) <= LENGTH_BOUND
    ok = ok and abs(width - PHANTOM_WIDTH_PX) <= WIDTH_BOUND_PX
    return ok, (
        f"length {length:.1f} px (true {PHANTOM_LENGTH_PX:.0f}), "
        f"mean width {width:.2f} px (true {PHANTOM_WIDTH_PX:.1f})"
    )
