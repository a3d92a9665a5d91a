"""What is known of a locale by its name: how its numbers, dates and plural forms look.

That is Babel's knowledge (extra ``reports``), but for English, which needs no package.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

from crackseg.errors import ConfigError, MissingExtra

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip  # those of ``calendar`` follow the locale of the process


@dataclass(frozen=True, slots=True)
class Locale:
    """How numbers, dates and plural forms of a locale look."""

    name: str  # "de_CH"
    language: str
    decimal: str
    plural_form: Callable[[float], str]  # number -> "one", "other", ...
    date: Callable[[date], str]  # in words
    time: Callable[[datetime], str]  # date and time, short


def find_locale(name: str) -> Locale:
    """Return a locale by its name: ``de``, ``fr_CH``, ``pt-BR``.

    Raises:
        ConfigError: there is no such locale.
        MissingExtra: it is not ``en``, and Babel is not installed.

    Example:
        >>> find_locale("de").decimal, find_locale("de_CH").decimal
        (',', '.')
    """
    code = name.strip().split(".")[0].replace("-", "_")
    return _ENGLISH if code.lower() == "en" else _by_babel(code, name)


def _by_babel(code: str, name: str) -> Locale:
    """Return what Babel knows of a locale, which somebody gave the name ``name``."""
    if importlib.util.find_spec("babel") is None:
        raise MissingExtra(
            f"`locale` {name!r} needs the package `babel`, which is not installed; "
            "pip install 'crackseg[reports]', or take `en`, which needs none."
        )
    import babel
    from babel.dates import format_date, format_skeleton, format_time
    from babel.numbers import get_decimal_symbol

    try:
        found = babel.Locale.parse(code)
    except (ValueError, babel.UnknownLocaleError) as error:
        raise ConfigError(
            f"`locale` must be a language such as en, de, fr_CH, got {name!r}."
        ) from error
    return Locale(
        name=str(found),
        language=found.language,
        decimal=get_decimal_symbol(found),
        plural_form=found.plural_form,
        date=lambda day: format_date(day, "long", locale=found),
        time=lambda time: (
            f"{format_skeleton('yMMMd', time, locale=found)}, "
            f"{format_time(time, 'HH:mm', locale=found)}"
        ),
    )


def _english_date(day: date) -> str:
    return f"{_MONTHS[day.month - 1]} {day.day}, {day.year}"


def _english_time(time: datetime) -> str:
    month = _MONTHS[time.month - 1][:3]
    return f"{time.day} {month} {time.year}, {time.hour:02}:{time.minute:02}"


_ENGLISH = Locale(
    name="en",
    language="en",
    decimal=".",
    plural_form=lambda number: "one" if abs(number) == 1 else "other",
    date=_english_date,
    time=_english_time,
)
