"""What is known of a locale by its name: how its numbers look."""

from __future__ import annotations

from babel import Locale, UnknownLocaleError
from babel.numbers import get_decimal_symbol

from crackseg.errors import ConfigError


def find_locale(name: str) -> Locale:
    """Return a locale by its name: ``de``, ``fr_CH``, ``pt-BR``.

    Raises:
        ConfigError: there is no such locale.
    """
    try:
        return Locale.parse(name.strip().split(".")[0].replace("-", "_"))
    except (ValueError, UnknownLocaleError) as error:
        raise ConfigError(
            f"`locale` must be a language such as en, de, fr_CH, got {name!r}."
        ) from error


def decimal_sign(name: str) -> str:
    """Return the decimal sign of a locale.

    Raises:
        ConfigError: there is no such locale.

    Example:
        >>> decimal_sign("de"), decimal_sign("de_CH")
        (',', '.')
    """
    return get_decimal_symbol(find_locale(name))
