"""A running service for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from dark_model import write_dark_model
from service_process import Service, running, wait_for

NEEDED = ("fastapi", "httpx", "sqlalchemy")
collect_ignore_glob = [] if all(map(find_spec, NEEDED)) else ["test_*.py"]  # extra not installed


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    return write_dark_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Service]:
    """One service for all tests that leave it as they found it."""
    with running(tmp_path_factory.mktemp("service"), model_folder) as started:
        client = started.client()
        wait_for(lambda: client.get("/readyz").status_code == 200, why="ready")
        yield started


@pytest.fixture
def client(service: Service) -> Any:
    """A client of the common service."""
    return service.client()
