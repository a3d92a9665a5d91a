"""The head of a report and what it says for the record: people and places, versions and hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

from crackseg import __version__
from crackseg.errors import CracksegError
from crackseg.inference.models import read_card, shipped_models
from crackseg.records import ModelCard
from crackseg.reporting.gather import Gathered
from crackseg.survey import Survey
from crackseg.words import Words


def head_facts(gathered: Gathered, words: Words) -> Iterator[tuple[str, str]]:
    """Yield the head of a report: label and value of what is known."""
    survey = gathered.survey
    level, warmth = survey.reservoir_level_m, survey.temperature_c
    times = sorted(t for p in gathered.photographs if (t := p.image.get("taken_at")))
    stand_off = survey.drone.stand_off_m
    camera = survey.drone.camera or _camera(gathered)
    rows = [
        ("dam", survey.dam),
        ("owner", survey.owner),
        ("part", survey.part),
        ("face", _face(survey, words)),
        ("inspected_on", words.date(survey.inspected_on) if survey.inspected_on else ""),
        ("reservoir_level", "" if level is None else f"{words.number(level, 2)} m"),
        ("temperature", "" if warmth is None else f"{words.number(warmth, 1)} °C"),
        ("weather", survey.weather),
        ("people", "; ".join(survey.people)),
        ("drone", survey.drone.name),
        ("camera", ", ".join(filter(None, (camera, survey.drone.lens)))),
        ("stand_off", "" if stand_off is None else f"{words.number(stand_off, 1)} m"),
        ("earlier", _earlier(survey, words)),
        ("taken", _span(times, words)),
        ("note", survey.note),
    ]  # fmt: skip
    return ((words(f"head.{key}"), value) for key, value in rows if value)


def missing_facts(survey: Survey, words: Words) -> str:
    """Return which facts that a signed report has are not stated, or an empty text."""
    facts = {
        "dam": survey.dam,
        "part": survey.part,
        "inspected_on": survey.inspected_on,
        "reservoir_level": survey.reservoir_level_m,
        "temperature": survey.temperature_c,
        "people": survey.people,
    }
    names = [words(f"head.{key}") for key, value in facts.items() if value in (None, "", ())]
    return words("head.missing", names=", ".join(names)) if names else ""


def record_rows(gathered: Gathered, words: Words) -> Iterator[tuple[str, str]]:
    """Yield what a later reader needs to repeat the analysis: label and value."""
    readable = [p for p in gathered.photographs if p.folder]
    releases = sorted({p.release for p in readable}) or [__version__]
    yield words("record.package"), ", ".join(releases)
    models = {p.model["sha256"]: p.model for p in readable if p.model}
    if len(models) > 1 or len(releases) > 1:
        names = ", ".join(f"{m['name']} {m['version']}" for m in models.values())
        yield "", words("record.several_models", names=names)
    for model in models.values():
        yield words("record.model"), f"{model['name']} {model['version']}"
        yield words("record.network"), str(model["network"])
        yield words("record.model_hash"), str(model["sha256"])
        levels = (words.number(model[key], 3) for key in ("threshold", "threshold_low"))
        yield words("record.thresholds"), " / ".join(levels)
        yield from _card_rows(_card(model["sha256"]), words)
    for precision, runtime in sorted({p.network_run for p in readable if p.model}):
        yield words("record.network_run"), words(f"record.{precision}", runtime=runtime)
    about = gathered.about
    readings = about.get("options", {}).get("predict", {}).get("readings")
    if readings:
        yield words("record.readings"), str(readings)
    for key in ("started", "ended"):
        if about.get(f"{key}_at"):
            yield words(f"record.{key}"), words.time(about[f"{key}_at"])
    yield words("record.written"), words.time(datetime.now(UTC).isoformat())
    yield words("record.survey_hash"), content_hash(gathered)
    yield "", words("record.hashes")


def content_hash(gathered: Gathered) -> str:
    """Return the SHA-256 of the names and contents of the photographs, in their order."""
    digest = hashlib.sha256()
    for photograph in gathered.photographs:
        line = f"{photograph.name}\t{photograph.image.get('sha256', photograph.status)}\n"
        digest.update(line.encode("utf-8", "replace"))
    return digest.hexdigest()


def _card_rows(card: ModelCard | None, words: Words) -> Iterator[tuple[str, str]]:
    if card is None:
        return
    yield words("record.use_of_model"), words.sentence(card.intended_use)
    yield words("record.limits_of_model"), words.sentence(card.limits)
    data = (
        f"{d.get('name', '?')} ({words.sentence(str(d.get('licence', '?')))})" for d in card.data
    )
    yield words("record.data"), ", ".join(data)


def _card(sha256: str) -> ModelCard | None:
    """Return the card of the shipped model of a digest, None where it is another one."""
    for folder in shipped_models().values():
        try:
            card = read_card(folder)
        except CracksegError:
            continue
        if card.sha256.get("model.onnx") == sha256:
            return card
    return None


def _face(survey: Survey, words: Words) -> str:
    face = survey.face
    if face.batter is None or face.azimuth_deg is None:
        return face.name
    batter = f"{face.batter:g}".replace(".", words.decimal)
    facts = words("head.face_facts", batter=batter, azimuth=words.number(face.azimuth_deg))
    return ", ".join(filter(None, (face.name, facts)))


def _camera(gathered: Gathered) -> str:
    cameras = dict.fromkeys(p.image.get("camera") for p in gathered.photographs)
    return ", ".join(str(camera) for camera in cameras if camera)


def _span(times: list[str], words: Words) -> str:
    if not times:
        return ""
    first, last = words.time(times[0]), words.time(times[-1])
    return first if first == last else f"{first} – {last}"


def _earlier(survey: Survey, words: Words) -> str:
    earlier = survey.earlier
    level, warmth = earlier.reservoir_level_m, earlier.temperature_c
    parts = (
        words.date(earlier.inspected_on) if earlier.inspected_on else "",
        "" if level is None else f"{words('head.reservoir_level')} {words.number(level, 2)} m",
        "" if warmth is None else f"{words.number(warmth, 1)} °C",
        earlier.note,
    )
    return ", ".join(part for part in parts if part)
