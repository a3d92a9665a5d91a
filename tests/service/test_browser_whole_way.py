"""The whole way in a real browser: upload, break off, finish, put right, correct, report, undo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import MISSING, complaints, find, open_browser, shown
from pypdf import PdfReader
from service_process import Service, wait_for
from test_browser_corrections import WIDTHS, click_places, drawn_crack, edits, press
from test_corrections import MISSED, wall
from tiny_model import picture

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture(params=["desk", *(pytest.param(w, marks=pytest.mark.slow)
                                  for w in ("tablet", "phone"))])  # fmt: skip
def browser(request: Any, tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium as wide as a desk's screen, a tablet or a phone."""
    wide, high = WIDTHS[request.param]
    metrics = {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": wide < 1000}
    with open_browser(tmp_path) as started:
        started.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        started.execute_cdp_cmd("Network.enable", {})
        yield started


def break_line(browser: Any, *patterns: str) -> None:
    """Let requests of these addresses get no answer; without any, all is well again."""
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": list(patterns)})


def analyzed_again(browser: Any, client: Any, survey: str, before: str | None) -> str:
    """Wait for the end of an analysis after another one and return its job."""
    wait_for(lambda: client.get(survey).json()["job"] != before, deadline_s=600, why="a job")
    wait_for(lambda: shown(browser, "#job[data-finished=yes]"), deadline_s=900, why="analyzed")
    return str(client.get(survey).json()["job"])


def test_a_survey_from_a_broken_upload_to_its_report(
    browser: Any, service: Service, tmp_path: Path
) -> None:
    client = service.client()
    photos = [tmp_path / f"{n} wall.png" for n in range(3)]
    for number, photo in enumerate(photos):
        photo.write_bytes(picture(number, lines=1) if number else wall())
    (tmp_path / "survey.toml").write_text('dam = "Upper dam"\n')
    files = "\n".join(map(str, [*photos, tmp_path / "survey.toml"]))

    browser.get(service.url)
    browser.find_element("id", "files").send_keys(files)
    assert "with what survey.toml says" in find(browser, "#chosen").text
    find(browser, "#name").clear()
    find(browser, "#name").send_keys("North face")
    find(browser, "#ignore_metadata").click()
    break_line(browser, "*/images/2*")
    find(browser, "#start").click()
    wait_for(lambda: "trying again" in find(browser, "#list").text, why="the line broke")
    wait_for(lambda: find(browser, "#list").text.count("sent") == 2, why="two are there")
    survey = "/v1" + browser.current_url.removeprefix(service.url)
    browser.get(service.url + survey.removeprefix("/v1"))
    break_line(browser)
    assert client.get(survey).json()["status"] == "draft"
    assert browser.find_element("id", "ignore_metadata").is_selected()  # what was typed

    browser.find_element("id", "files").send_keys(files)
    find(browser, "#start").click()
    first = analyzed_again(browser, client, survey, None)
    assert client.get(f"/v1/jobs/{first}").json()["counts"]["succeeded"] == 3
    browser.get_log("browser")  # complains of the line that broke

    find(browser, "#againbox summary").click()
    find(browser, "#mm_per_px").send_keys("0.5")
    find(browser, "#again button").click()
    job = analyzed_again(browser, client, survey, first)
    find(browser, "#knownbox summary").click()
    assert find(browser, "#toml").get_attribute("value") == 'dam = "Upper dam"\n'
    find(browser, "#toml").send_keys('people = ["A. Meier"]\ninspected_on = 2026-05-12\n')
    find(browser, "#known button").click()
    wait_for(lambda: find(browser, "#sayknown").text == "saved", why="facts kept")
    find(browser, "#toml").send_keys("nonsense")
    find(browser, "#known button").click()
    wait_for(lambda: "not valid TOML" in find(browser, "#sayknown").text, why="it says why")

    find(browser, f"[data-name='{photos[0].name}'] a").click()
    wait_for(lambda: find(browser, "#viewer").get_attribute("data-ready"), why="cracks drawn")
    image = str(find(browser, "#viewer").get_attribute("data-base"))
    find(browser, "[data-tool=draw]").click()
    at = MISSED.points[[0, 100, 200, 300]]
    click_places(browser, at + np.random.default_rng(5).uniform(-3, 3, at.shape))
    find(browser, "#done").click()
    wait_for(lambda: edits(browser) == 1, why="measured")
    drawn = drawn_crack(client, image)
    assert drawn["length_px"] == pytest.approx(MISSED.length_px, rel=0.02)
    assert drawn["width_mean_px"] == pytest.approx(4.0, abs=0.3)
    assert drawn["length_mm"] == pytest.approx(0.5 * drawn["length_px"], rel=1e-3)
    find(browser, "#cracks tr[data-id='1']").click()
    press(browser, "r")
    wait_for(lambda: find(browser, "#say").text == "saved", why="rejected")
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")

    find(browser, "nav[aria-label=Path] a").click()
    find(browser, "#reportbox [data-form=pdf]").click()
    pdf = wait_for(lambda: next(browser.downloads.glob("*.pdf"), None), deadline_s=300, why="PDF")
    text = " ".join("".join(p.extract_text() for p in PdfReader(pdf).pages).split())
    for words in ("North face", "Upper dam", "A. Meier", "May 12, 2026",
                  "1 mark was rejected by an inspector", "drawn"):  # fmt: skip
        assert words in text, words
    table = client.get(f"{image}/cracks.csv").text
    assert table.count("drawn") == 1
    assert table.count("\n") == 2  # the rejected one is left out

    find(browser, f"[data-name='{photos[0].name}'] a").click()
    wait_for(lambda: find(browser, "#viewer").get_attribute("data-ready"), why="cracks drawn")
    wait_for(lambda: find(browser, "#undo").is_enabled(), why="edits known")
    press(browser, "u")
    wait_for(lambda: edits(browser) == 0, why="undone")
    assert client.get(image).json()["summary"]["rejected"] == 1
    assert job in image
    assert [text for text in complaints(browser) if "/facts" not in text] == []  # the nonsense
