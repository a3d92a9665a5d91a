"""Sentences and numbers of reports and maps in the language of their reader: a catalogue for each.

``languages/xx.toml`` holds every sentence; a further language is a further file. How numbers and
dates look (see ``locales``) follows the whole locale: ``de_CH`` has German sentences and decimal
points.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from crackseg.config import read_toml
from crackseg.exports import wording
from crackseg.locales import Locale, find_locale
from crackseg.names import decimals_of
from crackseg.records import Measure

LANGUAGES = Path(__file__).parent / "languages"
_FALLBACK = "en"


@dataclass(frozen=True, slots=True)
class Words:
    """The sentences of a language and the number forms of a locale."""

    locale: Locale
    language: str
    texts: Mapping[str, Any]

    @property
    def decimal(self) -> str:
        """The decimal sign."""
        return self.locale.decimal

    def __call__(self, key: str, **values: Any) -> str:
        """Return the sentence of a key, with values filled in; ``n`` chooses its plural form.

        Numbers among the values are written with the locale's decimal sign.
        """
        text = self._find(key)
        if isinstance(text, Mapping):
            text = text.get(self.locale.plural_form(values.get("n", 0))) or text["other"]
        filled = {name: self._value(value) for name, value in values.items()}
        return str(text).format(**filled)

    def has(self, key: str) -> bool:
        """Return whether the catalogue has a sentence for a key."""
        table, _, name = key.partition(".")
        return name in self.texts.get(table, {})

    def table(self, name: str) -> dict[str, str]:
        """Return a table of the catalogue: headings, names of codes."""
        return {key: str(text) for key, text in self.texts[name].items()}

    def code(self, table: str, code: str) -> str:
        """Return a code of the package in words, or spelt as it is where nobody named it."""
        return self(f"{table}.{code}") if self.has(f"{table}.{code}") else code.replace("_", " ")

    def sentence(self, text: str) -> str:
        """Return what reports, cards and failures say in English, as it is where nobody put it."""
        whole = self._put(text)
        if whole is not None:
            return whole
        return " ".join(self._put(part) or part for part in re.split(r"(?<=[.?!]) (?=[A-Z])", text))

    def _put(self, text: str) -> str | None:
        for key, pattern in _english():
            match = pattern.fullmatch(text)
            if match:
                parts = {name: self._part(text) for name, text in match.groupdict().items()}
                return str(self.texts["sentences"][key]).format(**parts)
        return None

    def _part(self, text: str) -> str:
        """Return what fills a sentence: a figure, a sentence of the catalogue, or what it is."""
        if re.fullmatch(r"-?\d+\.\d+", text):
            return text.replace(".", self.decimal)
        return self._put(text) or text

    def number(self, value: float | None, digits: int = 0) -> str:
        """Return a number with a fixed count of decimals, a dash for None."""
        return "–" if value is None else f"{value:.{digits}f}".replace(".", self.decimal)

    def short(self, value: float) -> str:
        """Return a number with the decimals that it has: ``0,2``, ``1``."""
        return f"{value:g}".replace(".", self.decimal)

    def figures(self, value: float | None, digits: int = 3) -> str:
        """Return a number to so many figures, never with an exponent."""
        return "–" if value is None else self.number(value, decimals_of(value, digits))

    def date(self, value: date | None) -> str:
        """Return a date in words, a dash for None."""
        return "–" if value is None else self.locale.date(value)

    def time(self, value: str | None) -> str:
        """Return a time of ``report.json`` as date and time, a dash for None."""
        return self.locale.time(datetime.fromisoformat(value)) if value else "–"

    def quantity(self, value: float | None, u: float | None, unit: str) -> str:
        """Return ``2,41 ± 0,12 mm``."""
        return wording.quantity(value, u, unit).replace(".", self.decimal)

    def measured(self, measure: Measure) -> str:
        """Return a measure in mm where it has mm, else in px, or why there is none, with bounds."""
        if measure.px is None:
            words = self.code("status", measure.status)
            high = measure.high_px if measure.high_mm is None else measure.high_mm
            unit = "px" if measure.high_mm is None else "mm"
            limit = "" if high is None else f" < {wording.upper_bound(high)} {unit}"
            return words + limit.replace(".", self.decimal)
        unit, value, low, high = (
            ("px", measure.px, measure.low_px, measure.high_px)
            if measure.mm is None
            else ("mm", measure.mm, measure.low_mm, measure.high_mm)
        )
        text = wording.interval(value, low, high, unit).replace(".", self.decimal)
        return text.replace(" to ", f" {self('general.to')} ")

    def length(self, measure: Measure) -> str:
        """Return a length in m, mm or px with its uncertainty."""
        return wording.length(measure).replace(".", self.decimal)

    def _value(self, value: Any) -> Any:
        return self.number(value, 2) if isinstance(value, float) else value

    def _find(self, key: str) -> Any:
        table, _, name = key.partition(".")
        return self.texts[table][name]


@functools.cache
def _english() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return the sentences of the package by key, each with its fields as groups."""
    texts = read_toml(LANGUAGES / f"{_FALLBACK}.toml")["sentences"]
    fields = {key: re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(t)) for key, t in texts.items()}
    return tuple((key, re.compile(text, re.DOTALL)) for key, text in fields.items())


def read_words(name: str) -> Words:
    """Return the words of a locale: ``de``, ``de_AT``, ``fr-CH``; without a catalogue: English.

    Raises:
        ConfigError: there is no such locale.
        MissingExtra: it is not ``en``, and Babel is not installed.
    """
    locale = find_locale(name)
    language = locale.language if locale.language in languages() else _FALLBACK
    texts = read_toml(LANGUAGES / f"{language}.toml")
    return Words(locale, language, texts)


def languages() -> list[str]:
    """Return the languages that have a catalogue."""
    return sorted(file.stem for file in LANGUAGES.glob("*.toml"))
