"""``create_app(settings)``: the application, with nothing shared between two of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from crackseg import __version__
from service import errors, inside
from service.database import open_database
from service.envelope import Envelope
from service.metrics import Metrics
from service.routes import analyses, jobs, pages, surveys, uploads
from service.routes import service as about
from service.routes.documents import describe
from service.sandbox import Sandbox, Turns
from service.settings import Settings
from service.storage import Storage

HERE = Path(__file__).parent
_GATE_PLACES = 3  # headers looked at at once; one tenant gets all but one of them
_GATE_MEMORY_MB = 4096  # headers only; TIFF directories may be large
_GATE_CPU_S = 60.0  # for one header
_DESCRIPTION = """Upload photographs of concrete, get cracks with length, width and area.

The short way is `POST /v1/analyses` with one image. For many images: create a survey, `PUT` each
image, `POST /v1/surveys/{id}/execution`, watch the job. Jobs have the shape of OGC API - Processes
1.0. Every error is `application/problem+json`."""


def create_app(settings: Settings) -> FastAPI:
    """Return the application; its data folder and database are made if need be.

    Raises:
        DatabaseError: the database is damaged or of another version.
    """
    app = FastAPI(
        title="crackseg", version=__version__, description=_DESCRIPTION, lifespan=_lifespan,
        docs_url=None, redoc_url=None, separate_input_output_schemas=False,
        servers=[{"url": settings.root_path}] if settings.root_path else None,
    )  # fmt: skip
    app.state.settings = settings
    app.state.storage = Storage(settings)
    app.state.engine = open_database(settings)
    app.state.metrics = Metrics()
    app.state.model_folder = Path(settings.model)
    app.state.draining = False
    app.state.busy_uploads = set()
    errors.install(app, pages.show_problem)
    for router in (analyses, surveys, jobs, uploads, about, pages):
        app.include_router(router.router)
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    app.mount("/static", Assets(directory=HERE / "pages" / "static"), name="static")
    app.add_middleware(Envelope, state=app.state)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.gate = Sandbox(
        _GATE_PLACES, memory_mb=_GATE_MEMORY_MB, cpu_s=_GATE_CPU_S,
        prepare=inside.get_ready_to_judge,
    )  # fmt: skip
    app.state.gate_turns = Turns(_GATE_PLACES)
    yield
    app.state.draining = True
    app.state.gate.close()
    app.state.engine.dispose()


class Assets(StaticFiles):
    """Scripts and styles, always whole: the library refuses a wrong range in plain text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)
