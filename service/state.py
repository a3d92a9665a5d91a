"""What all requests of one application share, and how a route gets at it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from threading import BoundedSemaphore

from fastapi import Request
from sqlalchemy.engine import Engine

from service.corrections import Corrector
from service.inspections import Inspections
from service.metrics import Metrics
from service.sandbox import Sandbox, Turns
from service.settings import Settings
from service.storage import Storage

_PRESS_QUEUE = 8  # requests at once that papers are made for; the server has 40 threads in all


@dataclass(slots=True, kw_only=True)
class Service:
    """The parts of one running service.

    Attributes:
        streams: matches ``METHOD path`` of the requests that send an image, which goes to the disk
            as it comes and may be long.
        gate: processes that look at headers; there while the application runs.
        turns: who may use them next.
        press: the process that writes papers; there while the application runs.
        press_turns: who may wait for it.
        corrector: what measures edits; there while the application runs.
        correcting: who may use it next.
        inspections: what makes reports of surveys; there while the application runs.
        busy_uploads: resumable uploads that a request works on now.
    """

    settings: Settings
    storage: Storage
    engine: Engine
    metrics: Metrics
    model_folder: Path
    streams: re.Pattern[str]
    gate: Sandbox | None = None
    turns: Turns | None = None
    press: Sandbox | None = None
    press_turns: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_PRESS_QUEUE))
    corrector: Corrector | None = None
    correcting: Turns | None = None
    inspections: Inspections | None = None
    draining: bool = False
    busy_uploads: set[str] = field(default_factory=set)


def service_of(request: Request) -> Service:
    """Return the service that a request was sent to."""
    state: Service = request.app.state
    return state
