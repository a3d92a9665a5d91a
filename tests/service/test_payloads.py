"""Names, notes and metadata of strangers are shown as text: no browser runs them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import MISSING, complaints, open_browser
from payloads import PAYLOADS
from PIL import Image, ImageDraw
from service_process import Service, finished, wait_for

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
COUNT = """
window.ran = 0;
window.alert = window.confirm = window.prompt = () => { window.ran += 1; };
"""
FRAMES = """
for (const text of arguments[0]) {
  const frame = document.createElement("iframe");
  frame.srcdoc = text;
  document.body.append(frame);
}
"""
ALIVE = "return [...document.querySelectorAll('iframe')].map((f) => f.contentWindow.ran > 0);"
FOREIGN = (  # what none of the pages holds by itself
    "script:not([src]), iframe, object, embed, base, math, template, "
    "main img:not([src^='/v1/']):not([src^='images/']):not([src^='data:']), [autofocus]"
)
HANDLERS = "//*[@*[starts-with(name(), 'on')]]"


def name_of(payload: str) -> str:
    """Return a file name: what stands before a slash would be cut off as a folder."""
    return payload.replace("/", "\u2215").replace("\\", "\u2216") + ".jpg"


def photo(payload: str) -> bytes:
    """Return a JPEG with a dark line and a payload wherever EXIF and XMP hold text."""
    wall = Image.new("RGB", (240, 160), (190, 190, 190))
    ImageDraw.Draw(wall).line([(20, 60), (220, 90)], (20, 20, 20), 4)
    exif = Image.Exif()
    for tag in (0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x8298):
        exif[tag] = payload
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + payload.encode()
    escaped = payload.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="{escaped}"/></rdf:RDF></x:xmpmeta>'
    )
    file = io.BytesIO()
    wall.save(file, "JPEG", exif=exif, xmp=xmp.encode())
    return file.getvalue()


def ran(browser: Any) -> int:
    """Return how often a payload has called ``alert`` on the page."""
    return int(browser.execute_script("return window.ran"))


def submit(client: Any) -> tuple[str, list[dict[str, Any]]]:
    """Let the service analyze sixty photographs; return the job and its images."""
    for payload in PAYLOADS[1:]:
        assert client.post("/v1/surveys", json={"name": payload}).status_code == 201
    path = client.post("/v1/surveys", json={"name": PAYLOADS[0]}).headers["location"]
    for payload in PAYLOADS:
        target = f"{path}/images/{quote(name_of(payload), safe='')}"
        assert client.put(target, content=photo(payload)).status_code == 201, payload
    facts = {"toml": f"dam = {json.dumps(PAYLOADS[1])}\npeople = {json.dumps(PAYLOADS)}\n"}
    assert client.put(f"{path}/facts", json=facts).status_code == 200
    job = client.post(f"{path}/execution", json={}).headers["location"]
    assert finished(client, job)["counts"]["succeeded"] == len(PAYLOADS)
    images = client.get(f"{job}/images?limit=200").json()["images"]
    for image, payload in zip(images, PAYLOADS, strict=True):
        verdict = {"verdict": "reject", "note": payload}
        answer = client.put(f"{image['links']['self']}/cracks/1/verdict", json=verdict)
        assert answer.status_code == 200, answer.text
    return job, images


def is_strict(policy: str) -> bool:
    """Return whether a policy lets no script run but the service's own files."""
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    scripts = rules.get("script-src", rules["default-src"])
    closed = all(rules[name] == "'none'" for name in ("default-src", "base-uri", "frame-ancestors"))
    return closed and scripts in ("'none'", "'self'")


def test_the_payloads_run_where_nobody_takes_care(tmp_path: Path) -> None:
    with open_browser(tmp_path) as browser:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": COUNT})
        careless = [f"<p title=\"{p}\">{p}</p><p title='{p}'>" for p in PAYLOADS]
        browser.get("data:text/html,<body>")
        browser.execute_script(FRAMES, careless)
        # Or the next test could not fail. Some need the focus, which one frame at a time has.
        wait_for(lambda: sum(browser.execute_script(ALIVE)) > 40, why="payloads ran")


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.timeout(900)
def test_no_payload_runs(service: Service, tmp_path: Path) -> None:
    client = service.client()
    job, images = submit(client)
    survey = client.get(job).json()["survey"]
    report = f"{job}/inspection.html?rejected=true"
    wait_for(lambda: client.get(report).status_code == 200, deadline_s=600, why="the report")
    pages = ["/", f"/surveys/{survey}", f"{job}/report.html", report]
    pages += [f"/surveys/{survey}/images/{image['image']}" for image in images]
    pages += [image["links"]["page.html"] for image in images]
    shown = 0
    with open_browser(tmp_path) as browser:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": COUNT})
        for page in pages:
            answer = client.get(page)
            assert is_strict(answer.headers["content-security-policy"]), page
            browser.get(service.url + page)
            if viewer := browser.find_elements("id", "viewer"):
                wait_for(lambda v=viewer[0]: v.get_attribute("data-ready"), why="cracks drawn")
                browser.find_element("css selector", "#cracks tr[data-id]").click()
                note = browser.find_element("id", "note").get_property("value")
                assert note in PAYLOADS, page
                shown += note != ""
            assert ran(browser) == 0, page
            assert len(browser.find_elements("css selector", "style")) <= 1  # an exported page's
            foreign = browser.find_elements("css selector", FOREIGN)
            assert [e.get_attribute("outerHTML")[:80] for e in foreign] == []
            assert browser.find_elements("xpath", HANDLERS) == [], page
            # The report of sixty photographs has a number 49 of its own.
            whole = "{{7*7}}" in answer.text if page == report else ">49" not in answer.text
            assert whole, "a template ran"
        blocked = [text for text in complaints(browser) if "Security Policy" in text]
        assert blocked == []  # nothing was left for the policy to stop
    assert shown == len(PAYLOADS)
    assert len(pages) == 4 + 2 * len(PAYLOADS)
