"""A real browser and what the tests look at in it."""

from __future__ import annotations

from typing import Any

from chromium import MISSING, open_browser
from service_process import wait_for

__all__ = ["MISSING", "complaints", "find", "names", "open_browser", "shown"]


def find(browser: Any, selector: str) -> Any:
    """Return the element of a selector as soon as it can be seen."""
    return wait_for(lambda: next(iter(shown(browser, selector)), None), why=selector)


SEEN = """return [...document.querySelectorAll(arguments[0])].filter((element) =>
    element.getClientRects().length &&
    element.checkVisibility({ opacityProperty: true, visibilityProperty: true }))"""


def shown(browser: Any, selector: str) -> list[Any]:
    """Return the elements that can be seen, all at one moment: pages put others in their place."""
    elements: list[Any] = browser.execute_script(SEEN, selector)
    return elements


def text_of(browser: Any, selector: str) -> str:
    """Return the text of an element at one moment, "" where there is none."""
    script = "const e = document.querySelector(arguments[0]); return e ? e.innerText : ''"
    return str(browser.execute_script(script, selector)).strip()


def names(browser: Any) -> list[str]:
    """Return the names of the images that the gallery shows."""
    return [tile.get_attribute("data-name") for tile in shown(browser, "#gallery li")]


ADVICE = "Canvas2D: Multiple readback operations"  # on speed, for the picture's hit detection


def complaints(browser: Any) -> list[str]:
    """Return what the browser's console holds against the pages since it was asked last."""
    messages = (line["message"] for line in browser.get_log("browser"))
    return [text for text in messages if ADVICE not in text]
