"""Files that are broken in every way; read inside the sandbox, as the service reads them."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from crackseg.errors import ImageError
from crackseg.imagery.files import open_image


def seeds() -> dict[str, bytes]:
    """Return whole files of every kind that is taken in."""
    rng = np.random.default_rng(11)
    pixels = rng.integers(0, 256, (96, 128, 3), np.uint8)
    picture = Image.fromarray(pixels)
    files = {}
    for name, options in (
        ("baseline.jpg", {"format": "JPEG", "quality": 80}),
        ("progressive.jpg", {"format": "JPEG", "progressive": True}),
        ("plain.png", {"format": "PNG"}),
    ):
        file = io.BytesIO()
        picture.save(file, **options)
        files[name] = file.getvalue()
    for name, options in (
        ("plain.tif", {}),
        ("deflate.tif", {"compression": "zlib"}),
        ("lzw.tif", {"compression": "lzw"}),
        ("tiled.tif", {"tile": (32, 32), "compression": "zlib"}),
        ("big.tif", {"bigtiff": True}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, photometric="rgb", **options)
        files[name] = file.getvalue()
    return files


def mutant(seed: bytes, number: int) -> bytes:
    """Return a seed with bytes changed, removed, doubled or cut off; the same for a number."""
    rng = np.random.default_rng(number)
    data = bytearray(seed)
    kind = number % 5
    if kind == 0:
        return bytes(data[: int(rng.integers(1, len(data)))])
    for _ in range(int(rng.integers(1, 12))):
        at = int(rng.integers(0, min(len(data), 400) if kind < 3 else len(data)))
        if kind == 1:
            data[at] = int(rng.integers(0, 256))
        elif kind == 2:
            data[at : at + 4] = struct.pack("<I", int(rng.integers(0, 2**32)))
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 64))]
        else:
            data[at:at] = data[at : at + int(rng.integers(1, 64))]
        if len(data) < 2:
            break
    return bytes(data)


def bombs() -> dict[str, bytes]:
    """Return small files that claim or hold very many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    def png(side: int, bits: int, colour: int, rows: bytes) -> bytes:
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0))
        body = chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + head + body

    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG")
    jpeg = bytearray(file.getvalue())
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, np.zeros((2, 2), np.uint8))
    lying = bytearray(tiff.getvalue())
    return {
        "lying.jpg": bytes(jpeg),
        "bits.png": png(60000, 1, 0, bytes(7501) * 60000),
        "rgb.png": png(16000, 8, 2, bytes(48001) * 2000),
        "claims.png": png(2**31 - 1, 8, 2, b""),
        "lying.tif": bytes(lying).replace(struct.pack("<HHII", 256, 4, 1, 2),
                                          struct.pack("<HHII", 256, 4, 1, 10**6)),
    }  # fmt: skip


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process since its program was started.

    Not ru_maxrss: that one carries over what the parent held when it started the child.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(x for x in status.splitlines() if x.startswith("VmHWM")).split()[1]) / 1024


def read_all(folder: str, first: int, last: int) -> dict[str, Any]:
    """Read mutants as the worker does; answer how many were refused and the slowest."""
    refused, slowest, slowest_number = 0, 0.0, -1
    kinds = list(seeds().items())
    for number in range(first, last):
        name, seed = kinds[number % len(kinds)]
        path = Path(folder) / name
        path.write_bytes(mutant(seed, number))
        started = time.perf_counter()
        try:
            with open_image(path, max_megapixels=200) as image:
                image.read()
        except ImageError:
            refused += 1
        seconds = time.perf_counter() - started
        if seconds > slowest:
            slowest, slowest_number = seconds, number
    peak_mb = peak_memory_mb()
    return {"refused": refused, "slowest_s": slowest, "number": slowest_number, "peak_mb": peak_mb}


def judge_bombs(paths: list[str]) -> dict[str, Any]:
    """Open every bomb; answer the ones that were let in, and the time and memory it took."""
    with open_image(paths[0]):  # what is imported late counts before
        before = peak_memory_mb()
    let_in, slowest = [], 0.0
    for path in paths[1:]:
        started = time.perf_counter()
        try:
            with open_image(path, max_megapixels=200):
                let_in.append(path)
        except ImageError:
            pass
        slowest = max(slowest, time.perf_counter() - started)
    grown = peak_memory_mb() - before
    return {"let_in": let_in, "slowest_s": slowest, "grown_mb": grown}
