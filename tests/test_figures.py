"""Numbers and counts in sentences."""

from __future__ import annotations

import pytest

from crackseg.names import figures


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0, 2, "0"), (0.4, 3, "0.4"), (99.6, 2, "100"), (100, 2, "100"), (1250.4, 3, "1250"),
     (0.00001234, 3, "0.0000123"), (-12.345, 3, "-12.3"), (9.96, 2, "10")],
)  # fmt: skip
def test_a_number_in_a_sentence_has_no_exponent(value: float, digits: int, text: str) -> None:
    assert figures(value, digits) == text
