"""JPEG with arithmetic coding, which few programs write: read right, or refused by name."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from crackseg.errors import ImageError, UnsupportedImage
from crackseg.imagery.files import open_image

# A grey wedge of 24 x 16 px, written by cjpeg -arithmetic of libjpeg-turbo 2.1.5.
WEDGE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNy"
    "wtQFdBRkxOUlNSMj5aYVpQYEpRUk//yQALCAAQABgBAREA/8wABgAQEAX/2gAIAQEAAD8A/vAegQY4yyEmhjtNOZjQ"
    "Zv/Z"
)


def test_arithmetic_coding_is_read_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "wedge.jpg"
    path.write_bytes(WEDGE)
    with open_image(path) as image:
        grey = image.read()[..., 1].astype(float)
    assert grey.shape == (16, 24)
    assert np.ptp(grey, axis=1).max() <= 3
    assert grey.mean(axis=1) == pytest.approx(np.linspace(51, 230, 16), abs=4)


def test_half_of_it_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "wedge.jpg"
    path.write_bytes(WEDGE[:110])
    with pytest.raises(ImageError, match="cut"), open_image(path) as image:
        image.read()


def test_lossless_with_arithmetic_coding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wedge.jpg"
    path.write_bytes(WEDGE.replace(b"\xff\xc9", b"\xff\xcb"))
    with pytest.raises(UnsupportedImage, match="lossless JPEG with arithmetic coding"):
        open_image(path)
