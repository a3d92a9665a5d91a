"""What people know of a survey, as the text of its ``survey.toml``: checked before it is kept.

The report's head is made of it; the slope and direction of the face go into every later analysis,
as those of a ``survey.toml`` beside photographs do.
"""

from __future__ import annotations

import json
import tomllib
import unicodedata
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from crackseg.errors import ConfigError
from crackseg.survey import NAME, TEMPLATE, Survey, survey_from, survey_to_dict
from service.database import facts, now
from service.history import Place, note_change
from service.schemas import Facts, Options

_MOST_DOTS = 1000  # the parser's time grows with the square of the parts of a name
_FACE = {"face_batter": "batter", "face_azimuth_deg": "azimuth_deg"}  # option -> of the face


def parse(text: str) -> Survey:
    """Return what the text of a ``survey.toml`` says.

    Raises:
        ConfigError: it is not TOML, or holds a key or value that does not fit.
    """
    if text.count(".") > _MOST_DOTS:
        raise ConfigError(f"`{NAME}` holds {text.count('.')} dots; expected {_MOST_DOTS} at most.")
    try:
        values = tomllib.loads(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    except RecursionError as error:
        raise ConfigError(f"`{NAME}` is not valid TOML: it is nested too deep.") from error
    except ValueError as error:
        raise ConfigError(f"`{NAME}` is not valid TOML: {error}.") from error
    _require_plain(values)
    return survey_from(values, where=NAME)


def _require_plain(values: Any) -> None:
    """Refuse text with characters that no paper shows as they are meant."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            _require_plain(key)
            _require_plain(value)
    elif isinstance(values, list):
        for value in values:
            _require_plain(value)
    elif isinstance(values, str):
        wrong = [c for c in values if unicodedata.category(c)[0] == "C" and c not in "\n\t"]
        if wrong:
            raise ConfigError(
                f"`{NAME}` must hold plain text, got the control character U+{ord(wrong[0]):04X}."
            )


def text_of(db: Connection, survey_id: str) -> str:
    """Return the text that is kept of a survey, "" where there is none."""
    return db.scalar(sa.select(facts.c.toml).where(facts.c.survey_id == survey_id)) or ""


def survey_of(db: Connection, survey_id: str) -> Survey:
    """Return what is known of a survey."""
    return parse(text_of(db, survey_id))


def answer(db: Connection, survey_id: str) -> Facts:
    """Return what is known of a survey, and the text to begin with where nothing is."""
    text = text_of(db, survey_id)
    return Facts(
        toml=text or TEMPLATE.read_text(encoding="utf-8"),
        stated=_plain(parse(text)) if text else {},
    )


def _plain(survey: Survey) -> dict[str, Any]:
    """Return a survey as JSON holds it."""
    plain: dict[str, Any] = json.loads(json.dumps(survey_to_dict(survey), default=str))
    return plain


def keep(db: Connection, survey_id: str, text: str, by: str) -> None:
    """Keep the text of a ``survey.toml``, "" for none.

    Raises:
        ConfigError: it does not fit.
    """
    before, after = _plain(survey_of(db, survey_id)), _plain(parse(text))
    differs = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    note_change(
        db,
        Place(survey_id=survey_id),
        "facts",
        by,
        before={key: before.get(key) for key in differs},
        after={key: after.get(key) for key in differs},
    )
    db.execute(facts.delete().where(facts.c.survey_id == survey_id))
    if text.strip():
        row = {"survey_id": survey_id, "toml": text, "by": by, "updated_at": now()}
        db.execute(facts.insert().values(row))


def for_report(db: Connection, survey_id: str, name: str) -> dict[str, Any]:
    """Return what is known of a survey as its ``survey.json`` holds it, titled by its name."""
    return {"title": name, **_plain(survey_of(db, survey_id))}


def with_face(db: Connection, survey_id: str, options: Options) -> Options:
    """Return the options of an analysis with the slope and direction of the survey's face.

    Raises:
        ConfigError: an option says otherwise.
    """
    face = survey_of(db, survey_id).face
    angles = {
        name: getattr(face, of) for name, of in _FACE.items() if getattr(face, of) is not None
    }
    for name, value in angles.items():
        typed = getattr(options, name)
        if typed not in (None, value):
            raise ConfigError(
                f"`{name}` is {typed:g}, but `{NAME}` of the survey says {value:g}; correct one "
                "of them."
            )
    return options.model_copy(update=angles) if angles else options


def face_changed(db: Connection, survey_id: str, options: Mapping[str, Any]) -> bool:
    """Return whether the face was stated, or stated otherwise, after an analysis of the survey."""
    face = survey_of(db, survey_id).face
    return any(getattr(face, of) not in (None, options.get(name)) for name, of in _FACE.items())
