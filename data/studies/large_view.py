"""How soon is a photograph of 120 megapixels on the screen? ``python data/studies/large_view.py``.

A rendered wall of 10,000 x 12,000 px is uploaded to a service of its own and analyzed. A headless
Chromium then opens its page at the widths of a desk, a tablet and a phone. *First view* is from
navigation until the last tile of what is first seen has come; panning is six sweeps of sixty mouse
moves, at full size and from afar, and its figures are the milliseconds between animation frames.
It drives browser and service with what the tests use (``pip install -e '.[test,service]'``).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/service"), str(ROOT / "tests")]

from chromium import open_browser  # noqa: E402
from service_process import finished, running, wait_for  # noqa: E402

SHAPE = 10_000, 12_000
WIDTHS = (1300, 900), (820, 1180), (390, 844)
STILL_MS = 700  # without a further tile
RECORD = """
window.frames_ms = []; window.recording = true; let last = performance.now();
const tick = (now) => { window.frames_ms.push(now - last); last = now;
  if (window.recording) requestAnimationFrame(tick); };
requestAnimationFrame((now) => { last = now; requestAnimationFrame(tick); });
"""
TILES = """
const ends = performance.getEntriesByType("resource").filter((entry) =>
  entry.name.includes("/tiles/")).map((entry) => entry.responseEnd);
return [Math.max(0, ...ends), performance.now()];
"""


def photograph() -> bytes:
    """Return the JPEG of a grey wall with twelve dark lines."""
    rng, (height, width) = np.random.default_rng(0), SHAPE
    coarse = rng.normal(165, 14, (height // 8, width // 8)).astype(np.float32)
    wall = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    fine = rng.normal(0, 6, (height // 2, width // 2)).astype(np.float32)
    wall += cv2.resize(fine, (width, height), interpolation=cv2.INTER_NEAREST)
    grey = np.clip(wall, 0, 255).astype(np.uint8)
    cols = np.linspace(500, width - 500, 200)
    for number in range(12):
        rows = 800 * number + 500 + 60 * np.sin(cols / 550 + number)
        line = np.rint(np.stack([cols, rows], axis=1)).astype(np.int32)
        cv2.polylines(grey, [line], False, 15, 5)
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))[1])


def first_view_ms(browser: Any, url: str) -> float:
    """Open a page and return when the last tile of its first view had come."""
    browser.get(url)
    wait_for(lambda: browser.find_element("id", "viewer").get_attribute("data-ready"))

    def still() -> float | None:
        last_ms, now_ms = browser.execute_script(TILES)
        return float(last_ms) if last_ms and now_ms - last_ms > STILL_MS else None

    return float(wait_for(still))


def sweep(browser: Any) -> list[float]:
    """Pan six times over the picture and return the milliseconds between frames, sorted."""
    stage = browser.find_element("id", "stage")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", stage)
    centre = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def mouse(kind: str, right: float, down: float) -> None:
        where = {"x": centre[0] + right, "y": centre[1] + down}
        button = {"button": "left", "buttons": 1, "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, **where, **button})

    browser.execute_script(RECORD)
    for _ in range(6):
        mouse("mousePressed", 150, 100)
        for step in range(60):
            mouse("mouseMoved", 150 - 5 * step, 100 - 3 * step)
        mouse("mouseReleased", -150, -80)
    return sorted(browser.execute_script("window.recording = false; return window.frames_ms"))


def zoom_in(browser: Any) -> None:
    """Come nearer until a pixel of the photograph is one of the screen."""
    stage = browser.find_element("id", "stage")
    while float(stage.get_attribute("data-view").split()[2]) > 1:
        browser.find_element("id", "in").click()
        time.sleep(0.3)


def look(url: str, width: int, height: int) -> str:
    """Return a table row of what was measured at one width of the window."""
    with tempfile.TemporaryDirectory() as folder, open_browser(Path(folder)) as browser:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 1000}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        first_ms = first_view_ms(browser, url)
        far = sweep(browser)
        zoom_in(browser)
        near = sweep(browser)
    frames = [f"{f[len(f) // 2]:.0f} / {f[int(0.99 * len(f))]:.0f} / {f[-1]:.0f}"
              for f in (far, near)]  # fmt: skip
    return f"| {width} | {first_ms / 1000:.2f} s | {frames[0]} | {frames[1]} |"


def main() -> None:
    """Run the study and print its table."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), Path("default"), slots=1, image_timeout_s=3000) as service,
    ):
        client = service.client()
        survey = client.post("/v1/surveys", json={"name": "large"}).headers["location"]
        client.put(f"{survey}/images/large.jpg", content=photograph(), timeout=300)
        job = client.post(f"{survey}/execution", json={}).headers["location"]
        wait_for(lambda: client.get(job).json()["finished"], deadline_s=3000, why="analyzed")
        image = finished(client, job) and client.get(f"{job}/images").json()["images"][0]["image"]
        print(
            "| window, px | first view | frames from afar, median / 99 % / longest, ms | at 1:1 |"
        )
        print("|---|---|---|---|")
        for width, height in WIDTHS:
            page = f"{service.url}/surveys/{survey.rpartition('/')[2]}/images/{image}"
            print(look(page, width, height), flush=True)


if __name__ == "__main__":
    main()
