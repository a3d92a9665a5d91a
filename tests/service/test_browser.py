"""A real browser uploads a survey, waits, opens a crack, filters, judges, downloads."""

from __future__ import annotations

import io
import os
import re
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browser import MISSING, complaints, find, names, open_browser, shown, text_of
from PIL import Image
from service_process import Service, finished, running, wait_for
from test_surveys import make_survey
from tiny_model import picture

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A headless Chromium."""
    with open_browser(tmp_path) as started:
        yield started


def upload(browser: Any, url: str, photos: list[Path]) -> None:
    """Send photographs as a survey and wait until they are analyzed."""
    browser.get(url)
    files = browser.find_element("id", "files")
    files.send_keys("\n".join(str(path) for path in photos))
    find(browser, "#mm_per_px").send_keys("0.5")
    find(browser, "#name").clear()
    find(browser, "#name").send_keys("Spillway")
    find(browser, "#start").click()
    wait_for(lambda: "/surveys/" in browser.current_url, deadline_s=600, why="survey page")
    # The page loads itself anew when the job is done.
    wait_for(lambda: shown(browser, "#job[data-finished=yes]"), deadline_s=900, why="analyzed")
    assert f"{len(photos)} of {len(photos)} images done" in browser.page_source


def choose(browser: Any, option: str) -> None:
    """Choose what the gallery shows."""
    browser.find_element("css selector", f"#show option[value={option}]").click()


def open_image(browser: Any, name: str) -> list[Any]:
    """Open an image of the gallery and return the rows of its cracks."""
    find(browser, f"[data-name='{name}'] a").click()
    wait_for(lambda: find(browser, "#viewer").get_attribute("data-ready"), why="cracks drawn")
    return shown(browser, "#cracks tbody tr[data-id]")


def download(browser: Any) -> str:
    """Return the survey's table as it is downloaded."""
    find(browser, "#downloads a[href$='report.csv']").click()
    table = wait_for(lambda: next(browser.downloads.glob("*.csv"), None), why="download")
    return str(table.read_text(encoding="utf-8-sig"))


def go_to(browser: Any, crack: int) -> None:
    """Choose a crack in the table; the picture follows."""
    stage = find(browser, "#stage")
    before = wait_for(lambda: stage.get_attribute("data-view"), why="the picture")
    find(browser, f"#cracks tbody tr[data-id='{crack}']").click()
    wait_for(lambda: stage.get_attribute("data-view") != before, why="the picture follows")
    assert "mm" in find(browser, "#details").text


def test_a_survey_from_folder_to_table(browser: Any, service: Service, tmp_path: Path) -> None:
    photos = [tmp_path / f"photo {number}.png" for number in range(3)]
    for number, lines in enumerate((3, 1, 0)):
        photos[number].write_bytes(picture(number, lines=lines))
    upload(browser, service.url, photos)
    find(browser, "#downloads a")
    assert names(browser)[-1] == "photo 2.png"  # the one without cracks
    choose(browser, "clear")
    wait_for(lambda: names(browser) == ["photo 2.png"], why="only the one without cracks")
    choose(browser, "all")
    assert download(browser).count("photo") >= 3

    assert len(open_image(browser, "photo 0.png")) == 3
    go_to(browser, 2)
    find(browser, "#judge input[value=reject]").click()
    find(browser, "#note").send_keys("joint")
    find(browser, "#judge button.main").click()
    wait_for(lambda: find(browser, "#say").text == "saved", why="verdict saved")
    assert "1 rejected" in find(browser, "#count").text
    browser.refresh()
    row = wait_for(lambda: find(browser, "#cracks tr[data-id='2']"))
    cells = [row.get_attribute(f"data-{name}") for name in ("verdict", "note")]
    assert cells == ["reject", "joint"]
    find(browser, "nav a[href^='/surveys/']").click()
    find(browser, "#gallery")
    assert "1 rejected, not counted" in find(browser, "[data-name='photo 0.png']").text
    assert complaints(browser) == []


def verdict_of(browser: Any, service: Service, job: str, crack: int) -> list[str]:
    """Return verdict and note of a crack as the service has them."""
    listed = service.client().get(f"/v1/jobs/{job}/verdicts").json()["verdicts"]
    return next(([v["verdict"], v["note"]] for v in listed if v["crack"] == crack), [])


def test_what_an_inspector_says_is_kept_as_it_is_said(
    browser: Any, service: Service, tmp_path: Path
) -> None:
    photo, other = tmp_path / "wall.png", tmp_path / "sound.png"
    photo.write_bytes(picture(4, lines=3))
    other.write_bytes(picture(5, lines=1))
    upload(browser, service.url, [photo, other])
    job = find(browser, "#job").get_attribute("data-job")
    open_image(browser, "wall.png")
    place = browser.current_url

    def wait_until_stored(crack: int, *words: str) -> None:
        wait_for(
            lambda: verdict_of(browser, service, job, crack) == list(words), why=f"{words} kept"
        )

    def row(crack: int) -> Any:
        return find(browser, f"#cracks tr[data-id='{crack}']")

    row(1).click()
    find(browser, "#judge input[value=reject]").click()  # at once, without a button
    wait_until_stored(1, "reject", "")
    find(browser, "#note").send_keys("lift joint")
    row(2).click()  # another crack keeps the note of the one before
    wait_until_stored(1, "reject", "lift joint")
    assert find(browser, "#note").get_attribute("value") == ""
    find(browser, "#note").send_keys("to the next image")
    find(browser, "nav[aria-label=Images] a").click()
    wait_until_stored(2, "open", "to the next image")
    browser.get(place)
    wait_for(lambda: find(browser, "#viewer").get_attribute("data-ready"), why="cracks drawn")
    row(1).click()
    assert find(browser, "#note").get_attribute("value") == "lift joint"
    row(3).click()
    find(browser, "#note").send_keys("typed while the tab was closed")
    browser.execute_script("window.open('about:blank')")
    browser.close()
    browser.switch_to.window(browser.window_handles[0])
    wait_until_stored(3, "open", "typed while the tab was closed")


def test_a_verdict_waits_for_the_line_and_is_kept_then(
    browser: Any, service: Service, tmp_path: Path
) -> None:
    photo = tmp_path / "wall.png"
    photo.write_bytes(picture(6, lines=2))
    upload(browser, service.url, [photo])
    job = find(browser, "#job").get_attribute("data-job")
    open_image(browser, "wall.png")
    find(browser, "#cracks tr[data-id='1']").click()
    offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    find(browser, "#judge input[value=accept]").click()
    wait_for(lambda: "not saved yet" in find(browser, "#say").text, why="it says so")
    assert verdict_of(browser, service, job, 1) == []
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {**offline, "offline": False})
    wait_for(lambda: verdict_of(browser, service, job, 1) == ["accept", ""], why="kept")
    wait_for(lambda: find(browser, "#say").text == "saved", why="it says so")


def test_an_upload_that_broke_is_finished_and_a_survey_put_right(
    browser: Any, service: Service, tmp_path: Path
) -> None:
    photos = [tmp_path / f"photo {number}.png" for number in range(3)]
    for number, photo in enumerate(photos):
        photo.write_bytes(picture(number, lines=1))
    client = service.client()
    options = {"mm_per_px": 0.25, "use_metadata": False}
    made = client.post("/v1/surveys", json={"name": "Broken", "options": options})
    survey = made.headers["location"]
    client.put(f"{survey}/images/photo 0.png", content=photos[0].read_bytes())
    browser.get(f"{service.url}/surveys/{made.json()['id']}")
    assert find(browser, "#mm_per_px").get_attribute("value") == "0.25"
    assert browser.find_element("id", "ignore_metadata").is_selected()
    browser.find_element("id", "files").send_keys("\n".join(map(str, photos)))
    find(browser, "#start").click()
    wait_for(lambda: shown(browser, "#job[data-finished=yes]"), deadline_s=900, why="analyzed")
    assert "3 of 3 images done" in browser.page_source
    first = client.get(survey).json()
    assert client.get(f"/v1/jobs/{first['job']}").json()["options"] == options

    find(browser, "#againbox summary").click()
    scale = find(browser, "#mm_per_px")
    scale.clear()
    scale.send_keys("0.5")
    find(browser, "#again button").click()
    wait_for(lambda: client.get(survey).json()["job"] != first["job"], why="another job")
    wait_for(lambda: shown(browser, "#job[data-finished=yes]"), deadline_s=900, why="again")
    again = client.get(f"/v1/jobs/{client.get(survey).json()['job']}").json()
    assert again["options"] == {"mm_per_px": 0.5, "use_metadata": False}
    find(browser, "#analyses a").click()
    wait_for(lambda: "earlier analysis" in browser.page_source, why="the first analysis")
    find(browser, ".edit summary").click()
    name = find(browser, "#newname")
    name.clear()
    name.send_keys("Put right")
    find(browser, "#rename button").click()
    wait_for(lambda: client.get(survey).json()["name"] == "Put right", why="renamed")
    find(browser, "#delete").click()
    browser.switch_to.alert.accept()
    wait_for(lambda: client.get(survey).status_code == 404, why="deleted")
    assert complaints(browser) == []


def test_finished_images_open_while_others_run(
    browser: Any, tmp_path: Path, model_folder: Path
) -> None:
    folder = tmp_path / "service"
    folder.mkdir()
    with running(folder, model_folder, slots=1) as service:
        client = service.client()
        survey = client.post("/v1/surveys", json={"name": "Long"}).headers["location"]
        for number in range(40):
            sent = picture(number, lines=number % 3, height=700, width=900)
            assert client.put(f"{survey}/images/{number:02}.png", content=sent).status_code == 201
        job = client.post(f"{survey}/execution", json={}).headers["location"]
        browser.get(f"{service.url}/surveys/{survey.rpartition('/')[2]}")
        find(browser, "#search").send_keys("1")
        wait_for(lambda: shown(browser, "#gallery a"), deadline_s=600, why="a finished image")
        opened = client.get(job).json()["finished"] is None
        estimate = wait_for(lambda: text_of(browser, "#estimate"), why="a time")
        wait_for(lambda: shown(browser, "#job[data-finished=yes]"), deadline_s=900, why="done")
        wait_for(lambda: len(shown(browser, "#gallery a")) == 13, why="all of the filter")
        assert opened, "the job was done before the browser looked"
        assert re.fullmatch(r"about \d+ (s|min) left", estimate)
        assert text_of(browser, "#message") == "40 of 40 images done"  # and no time is left
        assert not text_of(browser, "#estimate")
        assert find(browser, "#search").get_attribute("value") == "1"
        find(browser, "#gallery a").click()
        find(browser, ".notices a[href='#own_distance_m']").click()  # no scale: it says where
        find(browser, "#own_distance_m")
        find(browser, ".notices a[href$='#againbox']").click()
        find(browser, "#again button")
        wait_for(lambda: find(browser, "#search").get_attribute("value") == "1", why="the filter")
        assert complaints(browser) == []


class _Line(BaseHTTPRequestHandler):
    """Passes everything on to a service, or answers as proxies do while it is away."""

    def do_GET(self) -> None:
        server: Any = self.server
        if server.broken.is_set():
            self.send_error(502)
            return
        with closing(HTTPConnection(server.upstream, timeout=60)) as line:
            line.request("GET", self.path, headers={"Host": server.upstream})
            answer = line.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            while (part := answer.read1()) and not server.broken.is_set():
                self.wfile.write(part)

    def log_message(self, *words: Any) -> None:
        pass


@contextmanager
def a_line_that_breaks(service: Service) -> Iterator[Any]:
    """A proxy in front of a service; while its event ``broken`` is set it answers 502."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Line)
    server.upstream = service.url.partition("://")[2]
    server.broken = threading.Event()
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def hold(worker: int, database: Path) -> None:
    """Stop a worker at a moment when it does not hold the database."""
    while True:
        os.kill(worker, signal.SIGSTOP)
        with closing(sqlite3.connect(database, timeout=0)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os.kill(worker, signal.SIGCONT)
                continue
            db.rollback()
            return


def test_a_page_goes_on_after_the_proxy_lost_the_service(
    browser: Any, tmp_path: Path, model_folder: Path
) -> None:
    folder = tmp_path / "service"
    folder.mkdir()
    with running(folder, model_folder) as service, a_line_that_breaks(service) as line:
        client = service.client()
        worker = wait_for(service.worker_pid, why="worker")
        hold(worker, service.data / "service.sqlite")  # the job waits
        try:
            survey = make_survey(client, {f"{n}.png": picture(n) for n in range(3)})
            client.post(f"{survey}/execution", json={})
            identity = survey.rpartition("/")[2]
            browser.get(f"http://127.0.0.1:{line.server_port}/surveys/{identity}")
            find(browser, "#state")
            line.broken.set()
            wait_for(lambda: shown(browser, "#lost"), why="it says so")
            assert "Connection lost" in find(browser, "#lost").text
            wait_for(lambda: "502" in str(complaints(browser)), why="502 was answered")
            line.broken.clear()
            wait_for(lambda: not shown(browser, "#lost"), why="it goes on")
        finally:
            os.kill(worker, signal.SIGCONT)
        wait_for(lambda: shown(browser, "#job[data-finished=yes]"), deadline_s=600, why="done")
        assert "3 of 3 images done" in find(browser, "#message").text
        assert len(shown(browser, "#gallery a")) == 3


def test_photographs_are_added_to_a_survey_that_was_analyzed(
    browser: Any, service: Service, tmp_path: Path
) -> None:
    client = service.client()

    def bare(number: int, folder: str) -> Path:
        """Return a TIFF without compression: all of one shape have one size."""
        path = tmp_path / folder / "DJI_0001.tif"
        path.parent.mkdir()
        with Image.open(io.BytesIO(picture(number))) as image:  # noqa: TID251
            image.save(path)
        return path

    first, other = bare(1, "first"), bare(2, "other")
    assert first.stat().st_size == other.stat().st_size
    new = tmp_path / "new.png"
    new.write_bytes(picture(3))
    survey = make_survey(client, {"DJI_0001.tif": first.read_bytes()})
    job = client.post(f"{survey}/execution", json={}).headers["location"]
    finished(client, job)
    browser.get(f"{service.url}/surveys/{survey.rpartition('/')[2]}")
    find(browser, "#addbox summary").click()
    browser.find_element("id", "files").send_keys(f"{first}\n{new}")
    find(browser, "#start").click()
    wait_for(lambda: client.get(job).json()["counts"]["total"] == 2, why="taken in")
    finished(client, job)
    assert client.get(survey).json()["not_analyzed"] == 0
    wait_for(lambda: len(shown(browser, "#gallery a")) == 2, why="both are shown")
    assert complaints(browser) == []
    # Of another flight, by the same name: it is another photograph.
    find(browser, "#addbox summary").click()
    browser.find_element("id", "files").send_keys(str(other))
    find(browser, "#start").click()
    sentence = "holds another image of this name"
    wait_for(lambda: sentence in find(browser, "#refused").text, why="it is said")
    complaints(browser)  # of the 409


def test_a_page_says_that_its_survey_was_deleted(browser: Any, service: Service) -> None:
    client = service.client()
    worker = wait_for(service.worker_pid, why="worker")
    hold(worker, service.data / "service.sqlite")  # the job waits
    try:
        survey = make_survey(client, {"a.png": picture(1)})
        client.post(f"{survey}/execution", json={})
        browser.get(f"{service.url}/surveys/{survey.rpartition('/')[2]}")
        find(browser, "#state")
        assert client.delete(survey).status_code == 204
        wait_for(lambda: shown(browser, "#lost"), why="it says so")
        wait_for(lambda: find(browser, "#lost").text == "The survey was deleted.", why="why")
    finally:
        os.kill(worker, signal.SIGCONT)
    complaints(browser)  # of the page that is gone


@pytest.mark.slow
@pytest.mark.ci
def test_the_sample_survey_by_the_shipped_model(
    browser: Any, tmp_path: Path, samples: Path
) -> None:
    photos = sorted(p for p in samples.iterdir() if p.suffix in (".jpg", ".png"))
    folder = tmp_path / "service"
    folder.mkdir()
    with running(folder, Path("default")) as service:
        upload(browser, service.url, photos)
        assert len(names(browser)) == len(photos) == 8
        tiles = shown(browser, "#gallery li")
        cracked = [tile for tile in tiles if int(tile.get_attribute("data-cracks") or 0)]
        assert len(cracked) >= 3
        # The scale given is not that of its laser: refused, first in the gallery, with the reason.
        assert names(browser)[0] == "drone_rotated.jpg"
        assert "not analyzed" in tiles[0].text
        assert "contradict" in tiles[0].text
        assert "tick “ignore what the camera wrote”" in tiles[0].text
        # The page was open all the time: it speaks of mm now, and of what may be missed.
        assert find(browser, "#unit").text == "mm"
        assert "90 % probability" in find(browser, "#detectionbox").text
        choose(browser, "cracks")
        wait_for(lambda: len(names(browser)) == len(cracked), why="only those with cracks")
        choose(browser, "all")
        table = download(browser)
        assert all(path.name in table for path in photos)
        assert open_image(browser, "lift_joint.jpg")
        go_to(browser, 1)
        assert complaints(browser) == []
