"""A real browser uploads a survey, waits, opens a crack, filters, judges, downloads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from service_process import Service, finished, wait_for
from test_surveys import make_survey
from tiny_model import picture

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver"),
]
XSS = "<img src=x onerror=document.title='owned'>"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium with a profile of its own."""
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,900"):  # fmt: skip
        options.add_argument(flag)
    prefs = {"download.default_directory": str(tmp_path / "downloads")}
    options.add_experimental_option("prefs", prefs)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(300)
    yield driver
    driver.quit()


def find(browser: Any, selector: str) -> Any:
    """Return the element of a selector as soon as it can be seen."""

    def look() -> Any:
        seen = [e for e in browser.find_elements("css selector", selector) if e.is_displayed()]
        return seen[0] if seen else None

    return wait_for(look, why=selector)


def shown(browser: Any, selector: str) -> list[Any]:
    """Return the elements that can be seen."""
    return [e for e in browser.find_elements("css selector", selector) if e.is_displayed()]


def names(browser: Any) -> list[str]:
    """Return the names of the images that the gallery shows."""
    return [tile.get_attribute("data-name") for tile in shown(browser, "#gallery li")]


def complaints(browser: Any) -> list[str]:
    """Return what the browser's console holds against the page."""
    return [line["message"] for line in browser.get_log("browser")]


def test_a_survey_from_folder_to_table(browser: Any, service: Service, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "downloads").mkdir()
    for number, lines in enumerate((3, 1, 0)):
        (photos / f"photo {number}.png").write_bytes(picture(number, lines=lines))
    browser.get(service.url)
    files = browser.find_element("id", "files")
    files.send_keys("\n".join(str(path) for path in sorted(photos.iterdir())))
    find(browser, "#mm_per_px").send_keys("0.5")
    find(browser, "#name").clear()
    find(browser, "#name").send_keys("Spillway")
    find(browser, "#start").click()
    wait_for(lambda: "/surveys/" in browser.current_url, why="survey page")
    find(browser, "#job[data-finished=yes]")  # the page loads itself anew when the job is done
    assert "3 of 3 images done" in browser.page_source
    find(browser, "#downloads a")
    assert names(browser)[-1] == "photo 2.png"  # the one without cracks

    browser.find_element("css selector", "#show option[value=clear]").click()
    wait_for(lambda: names(browser) == ["photo 2.png"], why="only the one without cracks")
    browser.find_element("css selector", "#show option[value=all]").click()
    find(browser, "#downloads a[href$='report.csv']").click()
    table = wait_for(lambda: next((tmp_path / "downloads").glob("*.csv"), None), why="download")
    assert table.read_text(encoding="utf-8-sig").count("photo") >= 3

    find(browser, "[data-name='photo 0.png'] a").click()
    wait_for(lambda: find(browser, "#viewer").get_attribute("data-ready"), why="cracks drawn")
    assert len(shown(browser, "#cracks tbody tr")) == 3
    before = find(browser, "#stage").get_dom_attribute("viewBox")
    find(browser, "#cracks tbody tr[data-id='2']").click()
    assert find(browser, "#stage").get_dom_attribute("viewBox") != before  # it went to the crack
    assert "mm" in find(browser, "#details").text
    find(browser, "#judge input[value=reject]").click()
    find(browser, "#note").send_keys("joint")
    find(browser, "#judge button").click()
    wait_for(lambda: find(browser, "#say").text == "saved", why="verdict saved")
    browser.refresh()
    row = wait_for(lambda: find(browser, "#cracks tr[data-id='2']"))
    assert (row.get_attribute("data-verdict"), row.get_attribute("data-note")) == (
        "reject",
        "joint",
    )
    assert complaints(browser) == []


def test_names_are_never_run(browser: Any, service: Service) -> None:
    client = service.client()
    nasty = [
        f"{XSS}.png",
        "\"><script>document.title='owned';.png",
        "{{7*7}}.png",
        "javascript:document.title='owned'.png",
        "' onload=document.title='owned' '.png",
    ]
    images = {quote(name, safe=""): picture(number) for number, name in enumerate(nasty)}
    survey = make_survey(client, images, name=XSS)
    job = client.post(f"{survey}/execution", json={}).headers["location"]
    done = finished(client, job)
    assert done["counts"]["succeeded"] == len(nasty)
    survey_id = survey.rpartition("/")[2]
    images_of = client.get(f"{job}/images").json()["images"]
    note = {"verdict": "reject", "note": XSS}
    client.put(f"{images_of[0]['links']['self']}/cracks/1/verdict", json=note)
    pages = ["/", f"/surveys/{survey_id}", f"{job}/report.html"]
    pages += [f"/surveys/{survey_id}/images/{image['image']}" for image in images_of]
    pages += [image["links"]["page.html"] for image in images_of[:2]]
    for page in pages:
        browser.get(service.url + page)
        wait_for(lambda: browser.execute_script("return document.readyState") == "complete")
        assert browser.title != "owned", page
        assert browser.find_elements("css selector", "main img[src=x], script:not([src])") == []
        assert "49.png" not in browser.page_source
    assert not [text for text in complaints(browser) if "Content Security Policy" in text]
