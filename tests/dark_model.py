"""A model that every room's tests can run: dark is crack. Real files, a millisecond to analyze."""

from __future__ import annotations

import base64
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from crackseg.inference.models import write_card, write_probe
from crackseg.records import Array, ModelCard

# Cast, ReduceMean over the colours, Sub from 90, Div by 10, Sigmoid: written with onnx.helper,
# kept as bytes so that the tests need no onnx.
ONNX = base64.b64decode(
    "CAk6pAIKHwoFaW1hZ2USBWZsb2F0IgRDYXN0KgkKAnRvGAGgAQIKNwoFZmxvYXQSBGdyZXkiClJlZHVjZU1lYW4qCw"
    "oEYXhlc0ADoAEHKg8KCGtlZXBkaW1zGACgAQIKGgoFbGV2ZWwKBGdyZXkSBmRhcmtlciIDU3ViChsKBmRhcmtlcgoE"
    "c29mdBIGbG9naXRzIgNEaXYKHgoGbG9naXRzEgtwcm9iYWJpbGl0eSIHU2lnbW9pZBIEdGlueSoPEAFCBWxldmVsSg"
    "QAALRCKg4QAUIEc29mdEoEAAAgQVoiCgVpbWFnZRIZChcIAhITCgMSAW4KAxIBaAoDEgF3CgIIA2IkCgtwcm9iYWJp"
    "bGl0eRIVChMIARIPCgMSAW4KAxIBaAoDEgF3QgQKABAR"
)
CARD = ModelCard(
    name="dark",
    version="1",
    network="dark",
    network_arguments={},
    input_multiple=32,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    threshold=0.5,
    threshold_low=0.3,
    tile_px=128,
    sha256={},
    intended_use="tests",
    limits="everything",
)


def probability_of(grey: Array | float, *, level: float = 90.0, soft: float = 10.0) -> Array:
    """Return what the model gives for a pixel whose colours have this mean."""
    value: Array = 1 / (1 + np.exp((np.asarray(grey, float) - level) / soft))
    return value


def write_dark_model(folder: Path, *, level: float = 90.0, soft: float = 10.0) -> Path:
    """Write a model folder: a pixel is crack when its mean of RGB is below ``level``.

    Args:
        folder: where to; made here, its name becomes the model's.
        level: grey of probability 0.5.
        soft: greys below it for one logit.
    """
    folder.mkdir(parents=True)
    graph = ONNX
    for before, after in ((90.0, level), (10.0, soft)):
        old, new = (struct.pack("<f", value) for value in (before, after))
        if graph.count(old) != 1:
            raise ValueError(f"the constant {before} must stand once in the graph")
        graph = graph.replace(old, new)
    (folder / "model.onnx").write_bytes(graph)
    probe = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), np.uint8)
    write_probe(folder, probe, probability_of(probe.mean(axis=3), level=level, soft=soft))
    write_card(folder, replace(CARD, name=folder.name))
    return folder
