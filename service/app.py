"""``create_app(settings)``: the application, with nothing shared between two of them."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from crackseg import __version__
from service import errors, routes, slot
from service.corrections import PLACES, Corrector, settle_all
from service.database import open_database
from service.envelope import Envelope
from service.inspections import Inspections
from service.metrics import Metrics
from service.openapi import describe, operation_id
from service.routes.pages import show_problem
from service.sandbox import Sandbox, Turns
from service.settings import Settings
from service.state import Service
from service.storage import Storage

HERE = Path(__file__).parent
GATE_PLACES = 3  # headers looked at at once; one tenant gets all but one of them
_GATE_MEMORY_MB = 4096  # headers only; TIFF directories may be large
_GATE_CPU_S = 60.0  # for one header
_DESCRIPTION = """Upload photographs of concrete, get cracks with length, width and area.

The short way is `POST /v1/analyses` with one image. For many images: create a survey, `PUT` each
image, `POST /v1/surveys/{id}/execution`, watch the job. Every error is
`application/problem+json`."""


def create_app(settings: Settings) -> FastAPI:
    """Return the application; its data folder and database are made if need be.

    Raises:
        DatabaseError: the database is damaged or of another version.
    """
    app = FastAPI(
        title="crackseg",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=operation_id,
        servers=[{"url": settings.root_path}] if settings.root_path else None,
    )
    rooms = route_modules()
    service = Service(
        settings=settings,
        storage=Storage(settings),
        engine=open_database(settings),
        metrics=Metrics(),
        model_folder=Path(settings.model),
        streams=re.compile("|".join(room.STREAMS for room in rooms if hasattr(room, "STREAMS"))),
    )
    app.state = service  # type: ignore[assignment]
    errors.install(app, show_problem)
    for room in rooms:
        app.include_router(room.router)
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    app.mount("/static", Assets(directory=HERE / "pages" / "static"), name="static")
    app.add_middleware(Envelope, service=service)
    return app


def route_modules() -> list[ModuleType]:
    """Return the modules of ``routes``, each with its ``router``: one that is gone is not missed.

    ``STREAMS`` of a module matches ``METHOD path`` of its requests that send an image.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(routes.__path__))
    return [import_module(f"{routes.__name__}.{name}") for name in names]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state  # type: ignore[assignment]
    service.gate = Sandbox(
        GATE_PLACES,
        memory_mb=_GATE_MEMORY_MB,
        cpu_s=_GATE_CPU_S,
        prepare=slot.get_ready_to_judge,
    )
    service.turns = Turns(GATE_PLACES)
    memory_mb, cpu_s = service.settings.image_memory_mb, service.settings.image_cpu_s
    service.press = Sandbox(1, memory_mb=memory_mb, cpu_s=cpu_s)
    service.corrector, service.correcting = Corrector(service.settings), Turns(PLACES)
    service.inspections = Inspections(service.settings, service.storage, service.engine)
    await run_in_threadpool(settle_all, service.engine, service.storage)
    yield
    service.draining = True
    service.gate.close()
    service.press.close()
    service.corrector.close()
    service.inspections.close()
    service.engine.dispose()


class Assets(StaticFiles):
    """Scripts and styles, always whole: the library refuses a wrong range in plain text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)
