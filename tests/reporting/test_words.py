"""Sentences and numbers in the user's language."""

from __future__ import annotations

import ast
import string
import tomllib
from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import crackseg
from crackseg.errors import ConfigError
from crackseg.inference.models import read_card, shipped_models
from crackseg.locales import find_locale
from crackseg.records import Measure
from crackseg.words import LANGUAGES, languages, read_words


def sentences(language: str) -> dict[str, Any]:
    texts = tomllib.loads((LANGUAGES / f"{language}.toml").read_text(encoding="utf-8"))
    return {f"{table}.{key}": text for table, keys in texts.items() for key, text in keys.items()}


def fields(text: Any) -> set[str]:
    forms = text.values() if isinstance(text, Mapping) else [text]
    return {name for form in forms for _, name, _, _ in string.Formatter().parse(form) if name}


def test_every_language_has_every_sentence_with_the_same_fields() -> None:
    english = sentences("en")
    assert languages() == ["de", "en"]
    for language in languages():
        other = sentences(language)
        assert other.keys() == english.keys()
        assert {key: fields(text) for key, text in other.items()} == {
            key: fields(text) for key, text in english.items()
        }
        plural = [text for text in other.values() if isinstance(text, Mapping)]
        assert all("other" in text for text in plural)


def test_numbers_dates_and_plural_forms_follow_the_locale() -> None:
    english, german, swiss = (read_words(name) for name in ("en", "de-DE", "de_CH.UTF-8"))
    assert (english.number(1.5, 2), german.number(1.5, 2), swiss.number(1.5, 2)) == (
        "1.50", "1,50", "1.50",
    )  # fmt: skip
    assert german.date(date(2026, 5, 12)) == "12. Mai 2026"
    assert english("general.cracks", n=1) == "1 crack"
    assert english("general.cracks", n=0) == "0 cracks"
    assert german("general.cracks", n=2) == "2 Risse"
    assert german.time("2026-05-12T09:41:00") == "12. Mai 2026, 09:41"
    assert english.number(None) == german.time(None) == english.date(None) == "–"


def test_english_needs_no_package_and_looks_as_babel_has_it() -> None:
    babel = pytest.importorskip("babel", reason="extra reports is not installed")
    from babel.dates import format_date, format_datetime
    from babel.numbers import get_decimal_symbol

    english, theirs = find_locale("en"), babel.Locale("en")
    assert english is find_locale(" EN.UTF-8 ")
    assert (english.name, english.language) == (str(theirs), theirs.language)
    assert english.decimal == get_decimal_symbol(theirs)
    for number in (0, 1, -1, 2, 11, 21, 101, 1_000_000, 1.0, 1.5, 0.1):
        assert english.plural_form(number) == theirs.plural_form(number), number
    for month in range(1, 13):
        day = datetime(2026, month, 2 * month - 1, 2 * month - 1, 5 * month - 5, 59)
        for time in (day, day.replace(tzinfo=timezone(timedelta(hours=month - 6)))):
            expected = format_datetime(time, "d MMM y, HH:mm", locale=theirs)
            assert english.time(time) == expected
        assert english.date(day.date()) == format_date(day.date(), "long", locale=theirs)
    assert english.date(date(2026, 11, 27)) == "November 27, 2026"


def test_a_locale_without_a_catalogue_has_english_sentences_and_its_own_numbers() -> None:
    french = read_words("fr")
    assert french.language == "en"
    assert french.number(1.5, 1) == "1,5"


@pytest.mark.parametrize("name", ["", "klingon", "../en", "de_XX_YY_ZZ_long"])
def test_an_unknown_locale_is_a_sentence(name: str) -> None:
    with pytest.raises(ConfigError, match="`locale` must be a language"):
        read_words(name)


def test_measures_keep_their_bounds() -> None:
    german = read_words("de")
    assert german.measured(Measure(px=4.0, u_px=0.4, mm=1.0, u_mm=0.1)) == "1,00 ± 0,10 mm"
    skewed = Measure(px=4.0, low_px=3.6, high_px=8.0, mm=1.0, low_mm=0.9, high_mm=2.0)
    assert german.measured(skewed) == "1,00 mm (0,90 bis 2,00)"
    below = Measure(px=None, high_px=0.8, high_mm=0.2, status="below_detection")
    assert german.measured(below) == "unter der Nachweisgrenze < 0,20 mm"
    assert german.measured(Measure(px=None, status="not_resolvable")) == "nicht auflösbar"


def test_codes_without_a_name_are_spelt_as_they_are() -> None:
    words = read_words("de")
    assert words.code("notice", "no_scale") == "kein Maßstab bekannt"
    assert words.code("notice", "never_seen_before") == "never seen before"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.12345, "0.123"), (12.345, "12.3"), (1234.5, "1234"), (1e-4, "0.000100")],
)
def test_figures_have_no_exponent(value: float, text: str) -> None:
    assert read_words("en").figures(value) == text


def notice_codes() -> set[str]:
    """Return the codes of all notices that the report of a photograph can hold, by the source."""
    package = Path(crackseg.__file__).parent
    names = set()
    for path in package.rglob("*.py"):
        if {"face", "changes"} & set(path.relative_to(package).parts):
            continue  # what maps say is not in reports
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Notice", "_notice"):
                codes = [k.value for k in node.keywords if k.arg == "code"] + node.args[:1]
                names |= {str(c.value) for c in codes if isinstance(c, ast.Constant)}
    return names


def test_every_notice_has_a_name_in_every_language() -> None:
    codes = notice_codes()
    assert {"no_scale", "damaged_exif", "flat_end"} <= codes
    for language in languages():
        words = read_words(language)
        assert {code for code in codes if not words.has(f"notice.{code}")} == set()


@pytest.mark.parametrize(
    ("text", "german"),
    [
        ("`a b.jpg` is empty (0 bytes).", "`a b.jpg` ist leer (0 Bytes)."),
        ("a video; take stills from it", "ein Video; entnehmen Sie ihm Einzelbilder"),
        ("`x.tif`: what nobody foresaw.", "`x.tif`: what nobody foresaw."),
        ("none stated", "keine angegeben"),
        (
            "`a.jpg` is empty (0 bytes). The file is no longer there.",
            "`a.jpg` ist leer (0 Bytes). Die Datei ist nicht mehr da.",
        ),
    ],
)
def test_what_failures_say_is_put_into_the_language(text: str, german: str) -> None:
    assert read_words("de").sentence(text) == german
    assert read_words("en").sentence(text) == text


def test_the_shipped_models_speak_the_language_of_the_report() -> None:
    words = read_words("de")
    for folder in shipped_models().values():
        card = read_card(folder)
        for text in (card.intended_use, card.limits):
            put = words.sentence(text)
            assert not any(part in put for part in text.split(". ") if len(part) > 20)
