"""A real browser and what the tests look at in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service_process import wait_for

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "" if CHROMIUM and DRIVER else "no chromium and chromedriver"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--window-size=1400,900",
)  # fmt: skip


@contextmanager
def open_browser(folder: Path) -> Iterator[Any]:
    """Start headless Chromium with a profile of its own; downloads go to ``folder/downloads``."""
    from selenium import webdriver

    downloads = folder / "downloads"
    downloads.mkdir()
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(300)
    driver.downloads = downloads
    try:
        yield driver
    finally:
        driver.quit()


def find(browser: Any, selector: str) -> Any:
    """Return the element of a selector as soon as it can be seen."""
    return wait_for(lambda: next(iter(shown(browser, selector)), None), why=selector)


def shown(browser: Any, selector: str) -> list[Any]:
    """Return the elements that can be seen."""
    return [e for e in browser.find_elements("css selector", selector) if e.is_displayed()]


def names(browser: Any) -> list[str]:
    """Return the names of the images that the gallery shows."""
    return [tile.get_attribute("data-name") for tile in shown(browser, "#gallery li")]


def complaints(browser: Any) -> list[str]:
    """Return what the browser's console holds against the pages since it was asked last."""
    return [line["message"] for line in browser.get_log("browser")]
