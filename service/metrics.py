"""Figures for Prometheus: counted here as requests pass, and read from the rows when asked for."""

from __future__ import annotations

import sqlalchemy as sa
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from sqlalchemy.engine import Engine

from service.database import State, jobs, tasks
from service.settings import MB
from service.storage import Storage

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The figures of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ["method", "route"]
        self._requests = self._counter("http_requests", "Answers.", [*labels, "status"])
        self._seconds = Histogram(
            "crackseg_http_request_seconds", "Time to answer.", labels, registry=self._registry
        )
        self._upload = self._counter("upload_bytes", "Bytes of bodies received.", [])
        self._jobs = self._gauge("jobs", "Jobs by state.", ["state"])
        self._images = self._gauge("images", "Images of jobs by state.", ["state"])
        self._failures = self._gauge("image_failures", "Failed images by reason.", ["code"])
        self._image_s = self._gauge("image_seconds_mean", "Mean time of a finished image.", [])
        self._free = self._gauge("disk_free_bytes", "Free space of the data folder.", [])

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(f"crackseg_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, labels: list[str]) -> Gauge:
        return Gauge(f"crackseg_{name}", text, labels, registry=self._registry)

    def answered(self, method: str, route: str, status: int, seconds: float, received: int) -> None:
        """Count one answer."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)
        self._upload.inc(received)

    def render(self, engine: Engine, storage: Storage) -> bytes:
        """Return all figures as Prometheus reads them."""
        with engine.connect() as db:
            for gauge, column in ((self._jobs, jobs.c.state), (self._images, tasks.c.state)):
                query = sa.select(column, sa.func.count()).group_by(column)
                counts = {row[0]: row[1] for row in db.execute(query)}
                for one in State:
                    gauge.labels(one).set(counts.get(one, 0))
            code = tasks.c.error_code
            failed = sa.select(code, sa.func.count()).where(code.is_not(None)).group_by(code)
            for reason, count in db.execute(failed):
                self._failures.labels(reason).set(count)
            self._image_s.set(db.scalar(sa.select(sa.func.avg(tasks.c.seconds))) or 0.0)
        self._free.set(storage.free_mb() * MB)
        return generate_latest(self._registry)
