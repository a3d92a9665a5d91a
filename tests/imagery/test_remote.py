"""Files behind addresses: read by ranges, whole where small, and every fault of a server named."""

from __future__ import annotations

import pickle
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import tifffile
from dark_model import write_dark_model
from PIL import Image

from crackseg import batch
from crackseg.config import AnalyzeOptions, PredictOptions
from crackseg.errors import ConfigError, ImageError, MissingExtra
from crackseg.imagery import remote
from crackseg.imagery.files import open_image
from crackseg.imagery.remote import is_address, remote_path
from crackseg.inputs import find_inputs
from crackseg.records import Window

pytest.importorskip("obstore", reason="extra remote is not installed")


@dataclass
class Shop:
    """A server of one folder that answers ranges, and what it was asked for."""

    folder: Path
    address: str = ""
    ranges: bool = True
    tag: str = '"1"'
    status: int = 0  # of every answer; 0: what is due
    short: int = 0  # bytes that are missing of every range
    fails_from: int = 10**9  # answers that go well before all others are 500
    asked: list[str] = field(default_factory=list)  # methods and names
    sent_bytes: int = 0

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name, _, _ = request.path.partition("?")
        self.asked.append(f"{request.command} {request.path}")
        file = self.folder / unquote(name).lstrip("/").removeprefix("box/")
        status = self.status or (500 if len(self.asked) > self.fails_from else 0)
        if not status and not file.is_file():
            status = 404
        if not status and request.headers.get("If-Match", self.tag) != self.tag:
            status = 412
        if status:
            self._send(request, status, b"secret", {})
            return
        data, more = file.read_bytes(), {"ETag": self.tag} if self.tag else {}
        more["Last-Modified"] = "Wed, 21 Oct 2015 07:28:00 GMT"
        part = re.match(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if part is None or not self.ranges:
            self._send(request, 200, data, more)
            return
        start, stop = int(part[1]), min(int(part[2]) + 1, len(data)) - self.short
        more["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        self._send(request, 206, data[start:stop], more)

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, data: bytes, more: dict[str, str]
    ) -> None:
        request.send_response(status)
        for name, value in more.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if request.command == "GET":
            self.sent_bytes += len(data)
            request.wfile.write(data)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    shop = Shop(tmp_path / "shop")
    shop.folder.mkdir()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            shop.answer(self)

        do_HEAD = do_GET

        def log_message(self, *unused: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    shop.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(remote, "RETRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", shop.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "here")
    yield shop
    server.shutdown()
    server.server_close()


@pytest.fixture
def mosaic(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    """Put a tiled raster of noise into the shop, read in small blocks; return its pixels."""
    pixels = np.random.default_rng(1).integers(0, 255, (2048, 1024, 3), np.uint8)
    tifffile.imwrite(shop.folder / "wall.tif", pixels, tile=(256, 256), photometric="rgb")
    monkeypatch.setattr(remote, "BLOCK_BYTES", 2**16)
    monkeypatch.setattr(remote, "WHOLE_BYTES", 2**16)
    return pixels


def test_what_an_address_is() -> None:
    addresses = ["https://a.org/b.tif", "HTTP://a/b", "s3://box/b c.tif"]
    assert all(is_address(text) for text in addresses)
    paths = ["a.tif", "https:/a.tif", "ftp://a/b.tif", "C:\\a.tif", "s3:///a", "/s3://a/b"]
    assert not any(is_address(text) for text in paths)


def test_a_path_shows_its_address_and_no_signature() -> None:
    path = remote_path("HTTPS://a.org/in/wall 1.tif?X-Signature=secret#part")
    assert str(path) == "https://a.org/in/wall 1.tif"
    assert (path.name, path.stem, path.suffix) == ("wall 1.tif", "wall 1", ".tif")
    assert (path.parent.name, path.resolve(), path.absolute()) == ("in", path, path)
    assert "secret" not in repr(path)
    again = pickle.loads(pickle.dumps(path))
    assert (again, again._query) == (path, "X-Signature=secret")
    with pytest.raises(ConfigError, match=r"must hold no password, got one for `a\.org`") as told:
        remote_path("https://me:secret@a.org/b.tif")
    assert "secret" not in str(told.value)
    with pytest.raises(ConfigError, match="must be the address of a file"):
        remote_path("s3://box")


@pytest.mark.parametrize("kind", ["{0}/wall.tif", "s3://box/wall.tif"])
def test_a_window_of_a_raster_takes_its_tiles_alone(
    kind: str, shop: Shop, mosaic: np.ndarray[Any, Any]
) -> None:
    size = (shop.folder / "wall.tif").stat().st_size
    with open_image(remote_path(kind.format(shop.address))) as image:
        window = Window(row=512, col=256, height=256, width=256)
        assert np.array_equal(image.read(window), mosaic[window.slices])
        assert shop.sent_bytes < 0.1 * size
        assert [notice.code for notice in image.info.notices] == ["not_hashed"]
        assert np.array_equal(image.read(), mosaic)
        assert shop.sent_bytes < 1.1 * size
    assert sum(asked.startswith("HEAD") for asked in shop.asked) == 1


def test_another_version_is_another_content(shop: Shop, mosaic: object) -> None:
    path = remote_path(f"{shop.address}/wall.tif")
    first = open_image(path).info.sha256
    assert open_image(path).info.sha256 == first
    shop.tag = '"2"'
    assert open_image(path).info.sha256 != first


def test_a_file_that_changes_meanwhile_is_an_error(shop: Shop, mosaic: object) -> None:
    with open_image(remote_path(f"{shop.address}/wall.tif")) as image:
        shop.tag = '"2"'
        for _ in range(2):
            with pytest.raises(ImageError, match=r"wall\.tif` changed while it was read; run ag"):
                image.read()


def test_a_change_is_seen_without_tags_too(shop: Shop, mosaic: object) -> None:
    shop.tag = ""
    with open_image(remote_path(f"{shop.address}/wall.tif")) as image:
        with (shop.folder / "wall.tif").open("ab") as file:
            file.write(b"more")
        with pytest.raises(ImageError, match="changed while it was read"):
            image.read()


def test_a_server_without_ranges_gives_small_files_whole(shop: Shop) -> None:
    Image.new("RGB", (64, 48), (90, 80, 70)).save(shop.folder / "wall.png")
    shop.ranges = False
    path = remote_path(f"{shop.address}/wall.png")
    with open_image(path) as image:
        assert image.read()[0, 0].tolist() == [90, 80, 70]
        assert image.info.notices == ()
    with open_image(shop.folder / "wall.png") as local:
        assert image.info.sha256 == local.info.sha256


def test_a_server_without_ranges_gives_no_large_file(shop: Shop, mosaic: object) -> None:
    shop.ranges = False
    with pytest.raises(ImageError, match="its server answers no ranges; download it first"):
        open_image(remote_path(f"{shop.address}/wall.tif"))


@pytest.mark.parametrize(
    ("status", "reason", "tries"),
    [
        (404, "does not exist", 1),
        (403, r"may not be read \(403\)", 1),
        (401, r"may not be read \(401\)", 1),
        (500, "its server answers 500, tried 2 times", 2),
    ],
)
def test_what_a_server_refuses_is_told_without_secrets(
    status: int, reason: str, tries: int, shop: Shop
) -> None:
    shop.status = status
    with pytest.raises(ImageError, match=reason) as told:
        open_image(remote_path(f"{shop.address}/wall.tif?X-Signature=secret"))
    assert "secret" not in str(told.value)
    assert shop.asked == ["HEAD /wall.tif?X-Signature=secret"] * tries


def test_a_server_that_is_away_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRIES", 0)
    with pytest.raises(ImageError, match="its server does not answer, tried 1 times"):
        open_image(remote_path("http://127.0.0.1:9/wall.tif"))


def test_a_server_that_goes_silent_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRIES", 0)
    monkeypatch.setattr(remote, "ANSWER_S", 0.2)
    free = threading.Event()
    monkeypatch.setattr(Shop, "answer", lambda self, request: free.wait(5))
    try:
        with pytest.raises(ImageError, match=r"does not answer within 0\.2 s"):
            open_image(remote_path(f"{shop.address}/wall.tif"))
    finally:
        free.set()


def test_an_answer_that_is_cut_is_told(shop: Shop, mosaic: object) -> None:
    with open_image(remote_path(f"{shop.address}/wall.tif")) as image:
        shop.short = 5
        with pytest.raises(ImageError, match=r"wall\.tif`"):
            image.read()


def test_a_fault_that_a_decoder_passes_over_is_an_error_all_the_same(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "BLOCK_BYTES", 2**12)
    monkeypatch.setattr(remote, "WHOLE_BYTES", 2**12)
    file = shop.folder / "wall.tif"
    with tifffile.TiffWriter(file) as writer:
        writer.write(np.full((256, 256, 3), 99, np.uint8), photometric="rgb")
        writer.write(np.ones((256, 256), bool), subfiletype=4)  # which pixels count
    address = f"{shop.address}/wall.tif"
    open_image(remote_path(address)).close()
    needed = len(shop.asked)
    for fails_from in range(needed, 2 * needed):  # each of the same questions fails once
        shop.fails_from = fails_from
        with pytest.raises(ImageError, match="its server answers 500"):
            open_image(remote_path(address))
        shop.asked[:] = shop.asked[:needed]


def test_photographs_behind_addresses_are_analyzed_as_files_are(shop: Shop, tmp_path: Path) -> None:
    picture = np.clip(np.random.default_rng(3).normal(170, 3, (96, 160, 3)), 0, 255)
    picture[40:44, 10:140] = 30
    Image.fromarray(picture.astype(np.uint8)).save(shop.folder / "wall 1.png")
    Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "wall%201.png")
    (tmp_path / "flight.txt").write_text(
        f"{shop.address}/wall%201.png?X-Signature=secret\ns3://box/gone.png\n"
    )
    paths = find_inputs([tmp_path / "flight.txt"]).paths
    predict = PredictOptions(runtime="onnx", precision="float", workers=2)
    options = AnalyzeOptions(model=str(write_dark_model(tmp_path / "dark")), predict=predict)
    first, gone = batch.run(paths, tmp_path / "out", options)
    assert first.status == "analyzed"
    assert gone.reason == "`s3://box/gone.png` does not exist."
    (local,) = batch.run([tmp_path / "wall%201.png"], tmp_path / "local", options)
    assert first.folder is not None
    assert local.folder is not None
    for name in ("cracks.csv", "mask.png"):
        assert (first.folder / name).read_bytes() == (local.folder / name).read_bytes()
    again = batch.run(paths, tmp_path / "out", options)
    assert [outcome.status for outcome in again] == ["unchanged", "failed"]
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"secret" not in file.read_bytes(), file


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'crackseg\[remote\]'"):
        open_image(remote_path("https://a.org/b.tif"))
