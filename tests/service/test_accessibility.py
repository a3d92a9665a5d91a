"""axe-core finds nothing to complain of on any page, in light and in dark colours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from browser import MISSING, find, open_browser
from service_process import Service, finished, wait_for
from test_surveys import make_survey
from tiny_model import picture

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
_RUN = "const done = arguments[arguments.length - 1]; axe.run(document).then(done);"


@pytest.fixture(scope="module")
def axe() -> str:
    """The checker's script, as its package brings it."""
    package = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    return files(package).joinpath("axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(service: Service) -> dict[str, str]:
    """Path of each kind of page."""
    client = service.client()
    draft = make_survey(client, {"a.png": picture(1)}, name="draft")
    survey = make_survey(client, {"a.png": picture(1), "b.png": picture(2, lines=0)}, name="face")
    job = client.post(f"{survey}/execution", json={"mm_per_px": 0.5}).headers["location"]
    finished(client, job)
    image = client.get(f"{job}/images").json()["images"][0]
    client.put(f"{image['links']['self']}/cracks/1/verdict", json={"verdict": "reject"})
    here = f"/surveys/{survey.rpartition('/')[2]}"
    return {
        "index": "/", "login": "/login", "draft": f"/surveys/{draft.rpartition('/')[2]}",
        "survey": here, "image": f"{here}/images/{image['image']}", "status": "/status",
        "problem": "/nowhere",
    }  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium."""
    with open_browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


def test_what_is_hard_to_read_is_found(browser: Any, service: Service, axe: str) -> None:
    browser.get(f"{service.url}/login")
    browser.execute_script(
        "const pale = document.createElement('p'); pale.textContent = 'hardly to be read';"
        "pale.style.setProperty('color', '#888'); pale.style.setProperty('background', '#777');"
        "document.querySelector('main').append(pale)"
    )
    browser.execute_script(axe)
    browser.set_script_timeout(300)
    violations = browser.execute_async_script(_RUN)["violations"]
    assert [rule["id"] for rule in violations] == ["color-contrast"]


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_no_page_is_hard_to_use(
    browser: Any, service: Service, pages: dict[str, str], axe: str, colours: str
) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": colours}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    problems = {}
    for name, path in pages.items():
        browser.get(f"{service.url}{path}")
        if name == "image":
            wait_for(lambda: find(browser, "#viewer").get_attribute("data-ready"), why="drawn")
            find(browser, "#cracks tbody tr[data-id='1']").click()
        browser.execute_script(axe)
        browser.set_script_timeout(300)
        result = browser.execute_async_script(_RUN)
        assert result["passes"], name  # it did run
        problems[name] = [
            {"rule": rule["id"], "what": node["html"][:200], "why": node["failureSummary"][:300]}
            for rule in result["violations"]
            for node in rule["nodes"]
        ]
    assert not any(problems.values()), json.dumps(problems, indent=1)
