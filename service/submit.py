"""What a client asks for becomes rows: once for each Idempotency-Key, if its options are good."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from service import facts, ledger
from service.database import fingerprint, insert_new, new_id, now, submissions
from service.errors import Problem
from service.quota import require_bytes, require_queue
from service.schemas import NewSurvey, Options
from service.state import Service
from service.uploads import Submission


def submit_once(
    db: Connection, tenant: str, route: str, key: str | None, digest: str, object_id: str
) -> str:
    """Return ``object_id`` for a new submission, the earlier one's for a repeated one.

    Raises:
        Problem: 422, the key was used for something else.
    """
    if not key:
        return object_id
    row = {
        "tenant": tenant,
        "route": route,
        "key": key,
        "fingerprint": digest,
        "object_id": object_id,
        "created_at": now(),
    }
    if insert_new(db, submissions, row):
        return object_id
    return str(submitted(db, tenant, route, key, digest))


def submitted(db: Connection, tenant: str, route: str, key: str | None, digest: str) -> str | None:
    """Return what a submission with this key led to, None where there was none.

    Raises:
        Problem: 422, the key was used for something else.
    """
    row = {"tenant": tenant, "route": route, "key": key}
    same = [submissions.c[name] == value for name, value in row.items()]
    earlier = db.execute(sa.select(submissions).where(*same)).one_or_none() if key else None
    if earlier is None:
        return None
    if earlier.fingerprint != digest:
        detail = "This Idempotency-Key was used for another request."
        raise Problem(422, "idempotency-conflict", detail)
    return str(earlier.object_id)


def submit_survey(
    service: Service, db: Connection, tenant: str, new: NewSurvey, key: str | None
) -> str:
    """Create a survey, with the options that were typed for it, and return its id.

    Raises:
        ConfigError: the options contradict each other.
        Problem: 422.
    """
    fresh, typed = new_id(), new.options.checked(service.settings.analyze) if new.options else None
    digest = fingerprint(new.name, *([typed] if typed else []))
    survey_id = submit_once(db, tenant, "surveys", key, digest, fresh)
    if survey_id == fresh:
        ledger.create_survey(db, tenant, new.name, kind="survey", survey_id=fresh)
        ledger.change_survey(db, fresh, name=None, options=typed)
    return survey_id


def submit_job(
    service: Service, db: Connection, tenant: str, survey_id: str, options: Options, key: str | None
) -> str:
    """Create the job of a survey and return its id.

    Raises:
        ConfigError: the options contradict each other.
        Problem: 404, 409, 422, 429, 507.
    """
    service.storage.require_room()
    ledger.find_survey(db, tenant, survey_id)
    options = facts.with_face(db, survey_id, options)
    fresh, values = new_id(), options.checked(service.settings.analyze)
    job_id = submit_once(db, tenant, "jobs", key, fingerprint(survey_id, values), fresh)
    if job_id == fresh:
        require_queue(db, tenant, service.settings)
        ledger.create_job(db, tenant, survey_id, values, kind="survey", job_id=fresh)
    return job_id


def submit_analysis(
    service: Service, db: Connection, tenant: str, submission: Submission, key: str | None
) -> str:
    """Create the survey, image and job of a single image and return the one id of all three.

    Raises:
        Problem: 413, 422, 429.
    """
    judged, fresh = submission.judged, new_id()
    received, name = judged.received, judged.name
    digest = fingerprint(received.sha256, name, submission.options)
    analysis_id = submit_once(db, tenant, "analyses", key, digest, fresh)
    if analysis_id == fresh:
        require_bytes(db, tenant, service.settings, received.size_bytes)
        require_queue(db, tenant, service.settings)
        ledger.create_survey(db, tenant, name, kind="analysis", survey_id=fresh)
        ledger.add_image(db, fresh, judged, image_id=fresh)
        ledger.create_job(db, tenant, fresh, submission.options, kind="analysis", job_id=fresh)
        service.storage.keep(received.path, fresh, fresh)  # before the row can be seen
    return analysis_id
