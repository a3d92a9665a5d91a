"""How much of the service one tenant may take: bytes kept, images of a survey, images that wait.

Limits of a single image (bytes, pixels) are checked where it is received and judged, the free disk
before every body.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from service.database import State, images, jobs, surveys, tasks, uploads
from service.errors import Problem
from service.settings import MB, Settings


def stored_bytes(db: Connection, tenant: str) -> int:
    """Return the bytes of a tenant's images, with those that are announced to come."""
    mine = sa.select(surveys.c.id).where(surveys.c.tenant == tenant)
    stored = sa.select(sa.func.sum(images.c.size_bytes)).where(images.c.survey_id.in_(mine))
    coming = sa.select(sa.func.sum(uploads.c.size_bytes)).where(uploads.c.tenant == tenant)
    return int(db.scalar(stored) or 0) + int(db.scalar(coming) or 0)


def waiting_images(db: Connection, tenant: str) -> int:
    """Return how many images of a tenant wait for a worker."""
    query = sa.select(sa.func.count()).select_from(tasks.join(jobs))
    query = query.where(jobs.c.tenant == tenant, tasks.c.state == State.QUEUED)
    return int(db.scalar(query) or 0)


def require_bytes(db: Connection, tenant: str, settings: Settings, size_bytes: int) -> None:
    """Refuse an image that a tenant has no room for.

    Raises:
        Problem: 413.
    """
    if stored_bytes(db, tenant) + size_bytes > settings.max_tenant_mb * MB:
        detail = f"At most {settings.max_tenant_mb} MB of images are kept; delete some surveys."
        raise Problem(413, "quota-exceeded", detail)


def require_queue(db: Connection, tenant: str, settings: Settings) -> None:
    """Refuse a job while too many images of a tenant wait.

    Raises:
        Problem: 429.
    """
    waiting = waiting_images(db, tenant)
    if waiting >= settings.max_queued_images:
        detail = f"{waiting} images wait already; submit more when some are done."
        raise Problem(429, "backpressure", detail, headers={"Retry-After": "60"})


def require_place(db: Connection, survey_id: str, settings: Settings) -> None:
    """Refuse another image for a survey that is full.

    Raises:
        Problem: 413.
    """
    query = sa.select(sa.func.count()).select_from(images).where(images.c.survey_id == survey_id)
    if int(db.scalar(query) or 0) >= settings.max_survey_images:
        detail = f"A survey may have at most {settings.max_survey_images} images."
        raise Problem(413, "quota-exceeded", detail)
