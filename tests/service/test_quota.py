"""What one tenant may take: bytes, pixels, images, disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_process import running
from test_surveys import make_survey
from test_uploads import TUS, metadata
from tiny_model import picture

from service.database import images, new_id, now, open_database
from service.errors import Problem
from service.keys import add
from service.ledger import create_job, create_survey
from service.quota import require_queue
from service.settings import Settings
from service.storage import Storage

LIMITS = {
    "max_image_mb": 1, "max_tenant_mb": 1, "max_image_megapixels": 0.3, "max_survey_images": 2,
    "max_queued_images": 1, "slots": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Any]:
    """A service with narrow limits and the keys of several tenants."""
    folder = tmp_path_factory.mktemp("narrow")
    engine = open_database(Settings(data=folder / "data"))
    keys = [add(engine, f"dam-{n}", "team", ("read", "write")) for n in range(4)]
    engine.dispose()
    with running(folder, model_folder, **LIMITS) as started:
        yield [started.client(headers={"Authorization": f"Bearer {key}"}) for key in keys]


def refused(answer: Any, status: int, kind: str) -> bool:
    """Return whether an answer is this problem."""
    body = answer.json()
    return (answer.status_code, body["type"].rpartition(":")[2]) == (status, kind)


def test_one_image_has_limits_of_bytes_and_pixels(narrow: list[Any]) -> None:
    client = narrow[0]
    survey = make_survey(client, {})
    large = client.put(f"{survey}/images/large.png", content=bytes(2**20 + 1))
    assert refused(large, 413, "image-too-large")
    wide = client.put(f"{survey}/images/wide.png", content=picture(1, height=600, width=600))
    assert refused(wide, 422, "image-unusable")
    assert "megapixels" in wide.json()["detail"]


def test_a_survey_has_a_limit_of_images(narrow: list[Any]) -> None:
    client = narrow[1]
    survey = make_survey(client, {"a.png": picture(1), "b.png": picture(2)})
    third = client.put(f"{survey}/images/c.png", content=picture(3))
    assert refused(third, 413, "quota-exceeded")
    assert client.get(survey).json()["images"] == 2


def test_a_tenant_has_a_limit_of_bytes_announced_or_kept(narrow: list[Any]) -> None:
    client, other = narrow[2], narrow[3]
    sent = picture(1, height=400, width=700)
    survey = make_survey(client, {"a.png": sent})
    again = client.put(f"{survey}/images/b.png", content=picture(2, height=400, width=700))
    assert refused(again, 413, "quota-exceeded")
    assert client.get(survey).json()["images"] == 1
    quota = client.get("/v1/quota").json()
    assert quota["used_mb"] == pytest.approx(len(sent) / 2**20)
    text = metadata(survey=survey.rpartition("/")[2], filename="c.png")
    headers = {**TUS, "Upload-Length": str(2**19), "Upload-Metadata": text}
    assert refused(client.post("/v1/uploads", headers=headers), 413, "quota-exceeded")
    small = {**headers, "Upload-Length": str(2**16)}
    assert client.post("/v1/uploads", headers=small).status_code == 201
    assert client.get("/v1/quota").json()["used_mb"] == pytest.approx(len(sent) / 2**20 + 1 / 16)
    assert other.get("/v1/quota").json()["used_mb"] == 0.0
    assert make_survey(other, {"a.png": sent})


def test_a_queue_has_a_limit_of_images(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, max_queued_images=2)
    engine = open_database(settings)
    survey, job = new_id(), new_id()
    with engine.begin() as db:
        create_survey(db, "dam", "face", kind="survey", survey_id=survey)
        for number in range(2):
            put_row(db, survey, number)
        require_queue(db, "dam", settings)
        create_job(db, "dam", survey, {}, kind="survey", job_id=job)
        require_queue(db, "quarry", settings)
        with pytest.raises(Problem) as caught:
            require_queue(db, "dam", settings)
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "60")
    engine.dispose()


def put_row(db: Any, survey: str, number: int) -> None:
    """Insert an image that has no file."""
    db.execute(
        images.insert().values(
            id=new_id(), survey_id=survey, name=f"{number}.png", sha256="0" * 64, size_bytes=1,
            width_px=1, height_px=1, format="PNG", created_at=now(),
        )
    )  # fmt: skip


def test_a_full_disk_takes_nothing_in(tmp_path: Path) -> None:
    storage = Storage(Settings(data=tmp_path, min_free_mb=10**9))
    with pytest.raises(Problem) as caught:
        storage.require_room()
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (507, "30")
    Storage(Settings(data=tmp_path, min_free_mb=1)).require_room()
