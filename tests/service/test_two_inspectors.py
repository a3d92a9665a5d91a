"""Two inspectors work on one photograph at once: neither loses what he did without a word."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from service_process import running
from test_corrections import SEEN, analyzed, keyed, rough

from service.database import open_database
from service.keys import add
from service.settings import Settings


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[list[Any]]:
    """Clients with the keys of two inspectors of one team."""
    folder = tmp_path_factory.mktemp("two")
    engine = open_database(Settings(data=folder / "data"))
    keys = [add(engine, "north", name, ("read", "write")) for name in ("A. Meier", "B. Huber")]
    engine.dispose()
    with running(folder, model_folder) as started:
        yield [keyed(started, key) for key in keys]


def test_a_verdict_is_not_replaced_unseen(two: list[Any]) -> None:
    meier, huber = two
    verdict = f"{analyzed(meier)}/cracks/1/verdict"
    first = meier.put(verdict, json={"verdict": "accept", "note": "wet", "seen_at": ""})
    assert first.status_code == 200
    # Huber's page was opened before.
    late = huber.put(verdict, json={"verdict": "reject", "seen_at": ""})
    assert late.status_code == 409
    assert late.json()["detail"] == (
        "A. Meier has said meanwhile: accepted (wet). Say it again to replace it."
    )
    same = huber.put(verdict, json={"verdict": "accept", "note": "wet", "seen_at": ""})
    assert same.status_code == 200
    time = same.json()["updated_at"]
    assert huber.put(verdict, json={"verdict": "reject", "seen_at": time}).status_code == 200
    # Who speaks twice from one page replaces his own word; a program need not say what it saw.
    assert huber.put(verdict, json={"verdict": "open", "seen_at": time}).status_code == 200
    assert meier.put(verdict, json={"verdict": "accept"}).status_code == 200


def test_edits_at_the_same_moment_are_all_kept(two: list[Any]) -> None:
    image = analyzed(two[0])
    split = {"kind": "split", "point": SEEN.points[140].round(1).tolist()}
    draw = {"kind": "draw", "line": rough()}
    with ThreadPoolExecutor(4) as pool:
        sent = [
            pool.submit(who.post, f"{image}/corrections", json=edit)
            for who, edit in zip(two * 2, (draw, split, draw, draw), strict=True)
        ]
        assert [one.result().status_code for one in sent] == [201] * 4
    edits = two[0].get(f"{image}/corrections").json()["edits"]
    assert sorted((e["kind"], e["by"]) for e in edits) == [
        ("draw", "A. Meier"), ("draw", "A. Meier"), ("draw", "B. Huber"), ("split", "B. Huber")
    ]  # fmt: skip
    changes = two[0].get(f"{image.partition('/images')[0]}/changes.csv").text
    assert changes.count("correction") >= 4
    stale = two[1].delete(f"{image}/corrections/{edits[-2]['id']}")
    assert stale.status_code == 409
    assert two[0].get(f"{image}/corrections").json()["edits"] == edits
