"""A real browser draws a missed crack over a rendered one, rejects, splits, undoes and exports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import MISSING, complaints, find, open_browser, shown
from service_process import Service, wait_for
from test_corrections import MISSED, SEEN, analyzed

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
WIDTHS = {"desk": (1300, 900), "tablet": (820, 1180), "phone": (390, 844)}


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium."""
    with open_browser(tmp_path) as started:
        yield started


def open_page(browser: Any, service: Service, image: str) -> None:
    """Open the page of an image and wait for its picture."""
    client = service.client()
    job, image_id = image.split("/")[3], image.split("/")[5]
    survey = client.get(f"/v1/jobs/{job}").json()["survey"]
    browser.get(f"{service.url}/surveys/{survey}/images/{image_id}")
    wait_for(lambda: find(browser, "#viewer").get_attribute("data-ready"), why="cracks drawn")


def click_places(browser: Any, places: Any) -> None:
    """Click places (row, col) of the picture, the last one twice at most by Enter."""
    from selenium.webdriver import ActionChains

    stage = find(browser, "#stage")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    x0, y0, resolution = map(float, stage.get_attribute("data-view").split())
    for row, col in places:
        right = (col + 0.5 - x0) / resolution
        down = (row + 0.5 + y0) / resolution
        ActionChains(browser).move_to_element_with_offset(stage, round(right), round(down)).pause(
            0.3
        ).click().pause(0.3).perform()


def edits(browser: Any) -> int:
    """Return how many edits the page shows once nothing is being measured."""
    box = find(browser, "#correct")
    wait_for(lambda: not box.get_attribute("data-busy"), deadline_s=120, why="measured")
    return int(box.get_attribute("data-edits"))


def press(browser: Any, keys: str) -> None:
    """Press keys on the picture."""
    find(browser, "#stage").send_keys(keys)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_missed_crack_is_drawn_judged_and_undone(
    browser: Any, service: Service, tmp_path: Path, width: str
) -> None:
    from selenium.webdriver.common.keys import Keys

    client = service.client()
    image = analyzed(client)
    browser.set_window_size(*WIDTHS[width])
    open_page(browser, service, image)
    before = client.get(f"{image}/report.json").json()
    find(browser, "[data-tool=draw]").click()
    rng = np.random.default_rng(5)
    at = MISSED.points[[0, 100, 200, 300]]
    click_places(browser, at + rng.uniform(-3, 3, at.shape))
    find(browser, "#done").click()
    wait_for(lambda: edits(browser) == 1, why="one edit")
    drawn = next(
        crack
        for crack in client.get(f"{image}/report.json").json()["cracks"]
        if crack.get("correction") == "drawn"
    )
    assert drawn["length_px"] == pytest.approx(MISSED.length_px, rel=0.02)
    assert "✎" in find(browser, f"#cracks tr[data-id='{drawn['id']}']").text
    assert find(browser, "#which").text == str(drawn["id"])
    browser.save_screenshot(str(tmp_path / f"{width}-drawn.png"))

    press(browser, Keys.ESCAPE)
    press(browser, "r")
    wait_for(lambda: find(browser, "#say").text == "saved", why="rejected")
    assert client.get(image).json()["summary"]["rejected"] == 1
    press(browser, "s")
    click_places(browser, [SEEN.points[140]])
    wait_for(lambda: edits(browser) == 2, why="split")
    assert len(shown(browser, "#cracks tr[data-id]")) == 3
    press(browser, Keys.ESCAPE)
    press(browser, "u")
    wait_for(lambda: edits(browser) == 1, why="undone")
    press(browser, "y")
    wait_for(lambda: edits(browser) == 2, why="done again")
    for _ in range(2):
        press(browser, "u")
        wait_for(lambda: edits(browser) < 2, why="undone")
    wait_for(lambda: edits(browser) == 0, why="all undone")
    assert client.get(f"{image}/report.json").json() == before
    assert complaints(browser) == []


def test_an_edit_that_cannot_be_done_says_why(browser: Any, service: Service) -> None:
    client = service.client()
    open_page(browser, service, analyzed(client))
    find(browser, "[data-tool=split]").click()
    click_places(browser, [(300, 10)])
    wait_for(
        lambda: "no crack lies within 12 px" in find(browser, "#correctsay").text, why="it says so"
    )
    assert edits(browser) == 0
    find(browser, "#cracks tr[data-id='1']").click()
    find(browser, "[data-mark=joint]").click()
    wait_for(lambda: edits(browser) == 1, why="a joint")
    assert "No crack was found" in find(browser, "#cracks").text
    light = find(browser, ".light summary")
    light.click()
    browser.execute_script(
        "const b = document.getElementById('brightness'); b.value = 180;"
        "b.dispatchEvent(new Event('input'))"
    )
    assert "brightness(180%)" in browser.execute_script(
        "return document.querySelector('#stage .photo').style.filter"
    )
