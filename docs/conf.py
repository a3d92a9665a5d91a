"""How Sphinx builds the documentation: `make docs`, warnings are errors, nothing is fetched."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

import crackseg

project = "crackseg"
author = "the crackseg maintainers"
release = version = crackseg.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"crackseg {release}"
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_class_signature = "separated"
autodoc_default_options = {"members": True, "undoc-members": False}
napoleon_custom_sections = ["Source"]
nitpicky = False

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def _unlink(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turn links to files outside of docs/, which the built pages do not hold, into their text."""
    source[0] = _OUTSIDE.sub(r"\1", source[0])


def setup(app: Sphinx) -> None:
    """Connect the steps above."""
    app.connect("source-read", _unlink)
