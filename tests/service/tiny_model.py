"""A model of one threshold and pictures with dark lines: real files, a millisecond to analyze."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from crackseg.inference.models import write_card, write_probe
from crackseg.records import ModelCard

# Cast, ReduceMean over the colours, Sub from 90, Div by 10, Sigmoid: written with onnx.helper,
# kept as bytes so that the tests need no onnx.
ONNX = (
    "CAk6pAIKHwoFaW1hZ2USBWZsb2F0IgRDYXN0KgkKAnRvGAGgAQIKNwoFZmxvYXQSBGdyZXkiClJlZHVjZU1lYW4qCw"
    "oEYXhlc0ADoAEHKg8KCGtlZXBkaW1zGACgAQIKGgoFbGV2ZWwKBGdyZXkSBmRhcmtlciIDU3ViChsKBmRhcmtlcgoE"
    "c29mdBIGbG9naXRzIgNEaXYKHgoGbG9naXRzEgtwcm9iYWJpbGl0eSIHU2lnbW9pZBIEdGlueSoPEAFCBWxldmVsSg"
    "QAALRCKg4QAUIEc29mdEoEAAAgQVoiCgVpbWFnZRIZChcIAhITCgMSAW4KAxIBaAoDEgF3CgIIA2IkCgtwcm9iYWJp"
    "bGl0eRIVChMIARIPCgMSAW4KAxIBaAoDEgF3QgQKABAR"
)
CARD = ModelCard(
    name="tiny",
    version="1",
    network="tiny",
    network_arguments={},
    input_multiple=32,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    threshold=0.5,
    threshold_low=0.3,
    tile_px=128,
    sha256={},
    intended_use="tests",
    limits="dark is crack",
)


def write_model(folder: Path) -> Path:
    """Write a model folder: a pixel is crack when its mean of RGB is below 90."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(base64.b64decode(ONNX))
    probe = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), np.uint8)
    expected = 1 / (1 + np.exp(-(90 - probe.astype(float).mean(axis=3)) / 10))
    write_probe(folder, probe, expected)
    write_card(folder, CARD)
    return folder


def picture(seed: int = 0, *, lines: int = 2, height: int = 160, width: int = 240) -> bytes:
    """Return a PNG: bright noise with dark horizontal lines of 4 px."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(170, 210, (height, width, 3), np.uint8)
    for number in range(lines):
        row = (number + 1) * height // (lines + 1)
        pixels[row : row + 4, 20 : width - 20 - 10 * (seed % 7)] = 30
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
