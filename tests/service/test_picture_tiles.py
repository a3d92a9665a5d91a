"""A photograph's tiles show the photograph, whatever its size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from service_process import finished
from test_surveys import make_survey
from tiny_model import picture

from crackseg.imagery.files import open_image
from service.tiles import levels, read_tile, write_tiles


def smooth(height: int, width: int) -> Any:
    """Return a picture that JPEG keeps well: each place has a colour of its own."""
    rows, cols = np.mgrid[:height, :width]
    planes = [255 * rows / height, 255 * cols / width, 128 + 0 * rows]
    return np.stack(planes, axis=2).astype(np.uint8)


def decoded(jpeg: bytes) -> Any:
    """Return (h, w, 3) RGB of a JPEG file."""
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize("size", [(100, 60), (512, 512), (513, 1025), (1500, 700), (8, 600)])
def test_tiles_show_the_picture_at_each_level(size: tuple[int, int], tmp_path: Path) -> None:
    pixels = smooth(*size)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    file = tmp_path / "tiles.zip"
    with open_image(tmp_path / "photo.png") as image:
        write_tiles(image, file)
    top = levels(*size) - 1
    for level in range(top + 1):
        step = 2 ** (top - level)
        height, width = -(-size[0] // step), -(-size[1] // step)
        picture = np.zeros((height, width, 3))
        for row in range(-(-height // 512)):
            for col in range(-(-width // 512)):
                tile = read_tile(file, level, col, row)
                assert tile is not None
                part = decoded(tile)
                top_px, left = 512 * row, 512 * col
                picture[top_px : top_px + part.shape[0], left : left + part.shape[1]] = part
        expected = pixels[step // 2 :: step, step // 2 :: step].astype(float)
        rows, cols = min(height, expected.shape[0]), min(width, expected.shape[1])
        assert np.abs(picture[:rows, :cols] - expected[:rows, :cols]).max() < 8 + 256 * step / min(
            size
        )
    assert read_tile(file, top + 1, 0, 0) is None
    assert read_tile(file, 0, 0, 1) is None


def test_tiles_are_served_to_their_tenant_and_stay_out_of_the_bundle(client: Any) -> None:
    survey = make_survey(client, {"wall.png": picture(2, lines=1, height=600, width=900)})
    job = client.post(f"{survey}/execution", json={}).headers["location"]
    finished(client, job)
    image = client.get(f"{job}/images").json()["images"][0]["links"]["self"]
    answer = client.get(f"{image}/tiles/1/1/0")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert decoded(answer.content).shape == (512, 388, 3)
    assert client.get(f"{image}/tiles/2/0/0").status_code == 404
    assert client.get(f"{image}/tiles/-1/0/0").status_code == 422
    assert b"tiles.zip" not in client.get(f"{job}/bundle.zip").content
