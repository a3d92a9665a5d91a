"""Numbers that people type into the pages: a decimal comma counts, what is ambiguous is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import MISSING, complaints, find, open_browser
from service_process import Service, wait_for
from test_surveys import make_survey
from tiny_model import picture

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

READ = """const field = document.getElementById(arguments[0]); field.value = arguments[1];
field.dispatchEvent(new Event("input", { bubbles: true }));
try { return [readNumber(field), field.validationMessage]; }
catch (error) { return [error.message, field.validationMessage]; }"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium."""
    with open_browser(tmp_path) as started:
        yield started


def test_a_scale_with_a_comma_or_a_point_is_the_same_and_never_ten_times_it(
    browser: Any, service: Service
) -> None:
    browser.get(service.url)
    scale = find(browser, "#mm_per_px")
    scale.send_keys("0,2")
    assert scale.get_attribute("value") == "0,2"
    form = 'return readOptions(document.getElementById("new"))'
    assert browser.execute_script(form)["mm_per_px"] == 0.2
    numbers = {
        "0.2": 0.2,
        "0,2": 0.2,
        " 0,25 ": 0.25,
        ",5": 0.5,
        "1.0": 1,
        "1,234": 1.234,
        "12": 12,
    }
    for text, number in {**numbers, "": None, "2e-3": 0.002}.items():
        assert browser.execute_script(READ, "mm_per_px", text) == [number, ""], text
    for text in ("1,234.5", "1.234,5", "1,2,3", "0.2.1", "0,2 mm", "-1", "1 000", "0", "101", "x"):
        reason, shown = browser.execute_script(READ, "mm_per_px", text)
        assert "Millimetres per pixel: " in reason, text
        assert reason == shown, text
    # 1500 and 1.5 are both lengths of a crack in pixels
    for text in ("1,500", "1.500"):
        assert "1500 or 1.5" in browser.execute_script(READ, "min_length_px", text)[0]
    assert browser.execute_script(READ, "min_length_px", "1500") == [1500, ""]
    assert complaints(browser) == []


def own_scale(client: Any, survey: str) -> Any:
    """Return the scale that a survey's only photograph has for itself."""
    (image,) = client.get(f"{survey}/images").json()["images"]
    return image["options"]["mm_per_px"]


def test_no_page_has_a_field_that_throws_a_comma_out(browser: Any, service: Service) -> None:
    client = service.client()
    survey = make_survey(client, {"wall.png": picture(1, lines=1)})
    job = client.post(f"{survey}/execution", json={"mm_per_px": 0.5}).headers["location"]
    wait_for(lambda: client.get(job).json()["status"] == "succeeded", deadline_s=300, why=job)
    image = client.get(f"{job}/images").json()["images"][0]["image"]
    number = survey.rsplit("/", 1)[1]
    pages = ("", f"surveys/{number}", f"surveys/{number}/images/{image}")
    count = "return [...document.querySelectorAll(arguments[0])].map((field) => field.id)"
    fields = set()
    for page in pages:
        browser.get(f"{service.url}/{page}")
        assert browser.execute_script(count, "input[type=number]") == []
        fields |= set(browser.execute_script(count, "input[data-number]"))
    assert {"mm_per_px", "distance_m", "own_mm_per_px", "own_distance_m", "least"} <= fields
    find(browser, "#ownbox summary").click()
    find(browser, "#own_mm_per_px").send_keys("0,3")
    find(browser, "#own button").click()
    wait_for(lambda: "Kept" in find(browser, "#sayown").text, why="the scale is kept")
    assert own_scale(client, survey) == 0.3
    find(browser, "#own_mm_per_px").clear()
    find(browser, "#own_mm_per_px").send_keys("1.234,5")
    find(browser, "#own button").click()
    message = 'return document.getElementById("own_mm_per_px").validationMessage'
    assert "1.234,5" in browser.execute_script(message)
    assert "Kept" in find(browser, "#sayown").text
    assert own_scale(client, survey) == 0.3
    assert complaints(browser) == []
