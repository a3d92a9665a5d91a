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


def open_page(browser: Any, service: Service, image: str, client: Any = None) -> None:
    """Open the page of an image and wait for its picture."""
    client = client or service.client()
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
    assert drawn["width_mean_px"] == pytest.approx(4.0, abs=0.3)
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


def drag(browser: Any, start: Any, end: Any) -> None:
    """Drag with the mouse from one place (row, col) of the picture to another."""
    from selenium.webdriver import ActionChains

    stage = find(browser, "#stage")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    x0, y0, resolution = map(float, stage.get_attribute("data-view").split())
    (right, down), (right2, down2) = (
        ((col + 0.5 - x0) / resolution, (row + 0.5 + y0) / resolution) for row, col in (start, end)
    )
    chain = ActionChains(browser).move_to_element_with_offset(stage, round(right), round(down))
    chain.pause(0.2).click_and_hold().pause(0.2).move_by_offset(
        round(right2 - right), round(down2 - down)
    ).pause(0.2).release().pause(0.3).perform()


def test_a_point_of_a_drawn_crack_is_moved(browser: Any, service: Service) -> None:
    client = service.client()
    image = analyzed(client)
    open_page(browser, service, image)
    press(browser, "m")
    assert "drawn by hand" in find(browser, "#correctsay").text
    at = MISSED.points[[0, 100, 200]]  # not to its end
    press(browser, "d")
    click_places(browser, at)
    find(browser, "#done").click()
    wait_for(lambda: edits(browser) == 1, why="one edit")
    short = drawn_crack(client, image)
    press(browser, "\ue00c")
    press(browser, "m")
    drag(browser, at[-1], MISSED.points[300])
    find(browser, "#done").click()
    wait_for(lambda: edits(browser) == 2, why="moved")
    moved = drawn_crack(client, image)
    assert moved["id"] == short["id"]
    assert moved["length_px"] == pytest.approx(MISSED.length_px, rel=0.02)
    assert short["length_px"] < 0.8 * moved["length_px"]
    press(browser, "u")
    wait_for(lambda: edits(browser) == 1, why="undone")
    assert drawn_crack(client, image)["length_px"] == short["length_px"]
    assert complaints(browser) == []


def drawn_crack(client: Any, image: str) -> Any:
    """Return the one crack that was drawn."""
    cracks = client.get(f"{image}/report.json").json()["cracks"]
    (drawn,) = [crack for crack in cracks if crack.get("correction") == "drawn"]
    return drawn


def test_a_crack_is_another_line_and_back_in_place(browser: Any, service: Service) -> None:
    client = service.client()
    image = analyzed(client)
    before = client.get(f"{image}/report.json").json()
    open_page(browser, service, image)
    find(browser, "#cracks tr[data-id='1']").click()
    find(browser, "[data-mark=other_line]").click()
    wait_for(lambda: edits(browser) == 1, why="another line")
    assert client.get(f"{image}/report.json").json()["totals"]["cracks"] == 0
    find(browser, "#others").click()
    click_places(browser, [SEEN.points[140]])
    assert "Another line" in find(browser, "#othersay").text
    find(browser, "#iscrack").click()
    wait_for(lambda: edits(browser) == 2, why="a crack again")
    (crack,) = client.get(f"{image}/report.json").json()["cracks"]
    (old,) = before["cracks"]
    assert (crack["id"], crack["length_px"]) == (old["id"], old["length_px"])
    assert find(browser, "#which").text == "1"
    for left in (1, 0):
        press(browser, "u")
        wait_for(lambda n=left: edits(browser) == n, why="undone")
    assert client.get(f"{image}/report.json").json() == before
    assert complaints(browser) == []


def touch(browser: Any, kind: str, *points: tuple[float, float]) -> None:
    """Put fingers on the screen, move or lift them."""
    at = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})


def view(browser: Any) -> list[float]:
    """Return x and y of the middle of what is shown, and picture pixels per screen pixel."""
    return [float(v) for v in find(browser, "#stage").get_attribute("data-view").split()]


@pytest.mark.parametrize("width", ["tablet", "phone"])
def test_fingers_move_pinch_draw_and_choose(browser: Any, service: Service, width: str) -> None:
    client = service.client()
    image = analyzed(client)
    wide, high = WIDTHS[width]
    metrics = {"width": wide, "height": high, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    open_page(browser, service, image)
    stage = find(browser, "#stage")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", stage)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    start = view(browser)
    touch(browser, "touchStart", (x - 30, y), (x + 30, y))
    for step in range(1, 9):
        touch(browser, "touchMove", (x - 30 - 8 * step, y), (x + 30 + 8 * step, y))
    touch(browser, "touchEnd")
    wait_for(lambda: view(browser)[2] < 0.6 * start[2], why="pinched")
    near = view(browser)
    touch(browser, "touchStart", (x, y))
    for step in range(1, 9):
        touch(browser, "touchMove", (x + 10 * step, y))
    touch(browser, "touchEnd")
    wait_for(lambda: view(browser)[0] < near[0] - 20 * near[2], why="dragged")
    assert browser.execute_script("return window.scrollX") == 0
    find(browser, "#fit").click()
    wait_for(lambda: view(browser)[2] > 0.9 * start[2], why="all shown")
    find(browser, "[data-tool=draw]").click()
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    for place in MISSED.points[[0, 100, 200, 300]]:
        tap(browser, stage, place)
    find(browser, "#done").click()
    wait_for(lambda: edits(browser) == 1, why="drawn by finger")
    assert drawn_crack(client, image)["length_px"] == pytest.approx(MISSED.length_px, rel=0.02)
    find(browser, "[data-tool=draw]").click()  # put away
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    tap(browser, stage, SEEN.points[140])
    wait_for(lambda: find(browser, "#which").text == "1", why="chosen")
    assert rect(browser, "#verdict")["bottom"] <= high + 1  # the answer stands below the question
    picture = rect(browser, "#stage")
    assert min(picture["bottom"], high) - max(picture["top"], 0) > 0.35 * high
    assert rect(browser, ".light")["right"] <= rect(browser, ".stage")["right"]  # the last tool
    assert rect(browser, ".tools")["bottom"] <= picture["top"]  # nothing hides the picture
    assert complaints(browser) == []


def rect(browser: Any, selector: str) -> dict[str, float]:
    """Return where on the screen an element stands."""
    box: dict[str, float] = browser.execute_script(
        "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector
    )
    return box


def tap(browser: Any, stage: Any, place: Any) -> None:
    """Tap a place (row, col) of the picture."""
    x0, y0, resolution = view(browser)
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", stage)
    x = box["x"] + box["width"] / 2 + (place[1] + 0.5 - x0) / resolution
    y = box["y"] + box["height"] / 2 + (place[0] + 0.5 + y0) / resolution
    touch(browser, "touchStart", (x, y))
    touch(browser, "touchEnd")
    browser.execute_async_script("setTimeout(arguments[0], 400)")  # two taps at once are another


def test_a_double_click_comes_nearer_unless_it_ends_what_is_drawn(
    browser: Any, service: Service
) -> None:
    from selenium.webdriver import ActionChains

    client = service.client()
    image = analyzed(client)
    open_page(browser, service, image)
    start = view(browser)[2]
    ActionChains(browser).double_click(find(browser, "#stage")).perform()
    wait_for(lambda: view(browser)[2] == pytest.approx(start / 2, rel=0.01), why="nearer")
    find(browser, "#fit").click()
    wait_for(lambda: view(browser)[2] == pytest.approx(start, rel=0.01), why="all of it")
    find(browser, "[data-tool=draw]").click()
    click_places(browser, MISSED.points[[0, 100, 200]])
    x0, y0, resolution = view(browser)
    row, col = MISSED.points[-1]
    at = round((col + 0.5 - x0) / resolution), round((row + 0.5 + y0) / resolution)
    ActionChains(browser).move_to_element_with_offset(
        find(browser, "#stage"), *at
    ).double_click().perform()
    wait_for(lambda: edits(browser) == 1, why="ended")
    assert view(browser)[2] == pytest.approx(start, rel=0.01)
    assert complaints(browser) == []


LOSES = """const real = window.fetch;
let [method, left] = arguments;
window.fetch = async (url, more) => {
  const answer = await real(url, more);
  const ours = String(url).includes("/corrections") && ((more || {}).method || "GET") === method;
  if (ours && left-- > 0) throw new TypeError("the line broke");
  return answer;
};"""


def lose_answers(browser: Any, *, of: str, count: int) -> None:
    """Let the page lose so many answers of a method to corrections, which the service gave."""
    browser.execute_script(LOSES, of, count)


def test_an_edit_whose_answer_is_lost_is_done_once(browser: Any, service: Service) -> None:
    client = service.client()
    image = analyzed(client)
    open_page(browser, service, image)
    lose_answers(browser, of="POST", count=2)
    find(browser, "[data-tool=draw]").click()
    click_places(browser, MISSED.points[[0, 150, 300]])
    find(browser, "#done").click()
    wait_for(lambda: "asking again" in find(browser, "#correctsay").text, why="it says so")
    assert "nothing was changed" not in find(browser, "#correctsay").text
    wait_for(lambda: edits(browser) == 1, why="measured")
    assert find(browser, "#correctsay").text == "measured"
    assert len(client.get(f"{image}/corrections").json()["edits"]) == 1
    drawn_crack(client, image)  # the only one
    browser.execute_script("document.querySelector('[data-tool=draw][aria-pressed=true]')?.click()")
    lose_answers(browser, of="GET", count=2)  # of what the page reads after the next edit
    lose_answers(browser, of="DELETE", count=1)
    press(browser, "u")
    wait_for(lambda: find(browser, "#correctsay").text == "undone", why="undone")
    assert edits(browser) == 0
    assert client.get(f"{image}/corrections").json()["edits"] == []
    press(browser, "y")
    wait_for(lambda: edits(browser) == 1, why="done again")


def test_an_edit_goes_on_when_its_page_is_loaded_again(browser: Any, service: Service) -> None:
    client = service.client()
    image = analyzed(client)
    open_page(browser, service, image)
    browser.execute_script("window.fetch = () => Promise.reject(new TypeError('no line'))")
    press(browser, "d")
    click_places(browser, MISSED.points[[0, 150, 300]])
    find(browser, "#done").click()
    wait_for(lambda: "asking again" in find(browser, "#correctsay").text, why="it says so")
    assert client.get(f"{image}/corrections").json()["edits"] == []
    browser.refresh()
    wait_for(lambda: find(browser, "#viewer").get_attribute("data-ready"), why="cracks drawn")
    wait_for(lambda: edits(browser) == 1, why="shown")
    assert len(client.get(f"{image}/corrections").json()["edits"]) == 1
    press(browser, "u")
    wait_for(lambda: edits(browser) == 0, why="undone")
    browser.refresh()  # nothing is under way any more
    wait_for(lambda: find(browser, "#viewer").get_attribute("data-ready"), why="cracks drawn")
    assert edits(browser) == 0


LEAVES = """const event = new Event("beforeunload", { cancelable: true });
window.dispatchEvent(event); return !event.defaultPrevented"""


def test_a_half_drawn_line_is_not_left_without_a_question(browser: Any, service: Service) -> None:
    image = analyzed(service.client())
    open_page(browser, service, image)
    press(browser, "d")
    assert browser.execute_script(LEAVES)
    click_places(browser, MISSED.points[[0, 150]])
    assert not browser.execute_script(LEAVES)
    press(browser, "\ue00c")
    assert browser.execute_script(LEAVES)
    press(browser, "d")
    click_places(browser, MISSED.points[[0, 300]])
    find(browser, "#done").click()
    wait_for(lambda: edits(browser) == 1, why="measured")
    assert browser.execute_script(LEAVES)


def test_a_line_on_a_listed_crack_takes_its_place_or_is_refused(
    browser: Any, service: Service
) -> None:
    client = service.client()
    image = analyzed(client)
    before = client.get(image).json()["summary"]["length_mm"]
    open_page(browser, service, image)
    press(browser, "d")
    click_places(browser, SEEN.points[[0, 140, -1]])
    find(browser, "#done").click()
    wait_for(lambda: edits(browser) == 1, why="measured")
    assert "takes the place of crack 1" in find(browser, "#correctsay").text
    assert client.get(image).json()["summary"]["cracks"] == 1
    assert client.get(image).json()["summary"]["length_mm"] == pytest.approx(before, rel=0.05)
    click_places(browser, SEEN.points[[20, 140]])
    find(browser, "#done").click()
    wait_for(lambda: "count twice" in find(browser, "#correctsay").text, why="refused")
    assert edits(browser) == 1


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
