"""Width classes: printed only where the whole interval lies in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from crackseg.errors import ConfigError, UnknownName
from crackseg.metrology.classes import classify, read_documents
from crackseg.records import Measure


def label(mm: float | None, u_mm: float | None, document: str = "bins", **kwargs: object) -> object:
    width = Measure(px=mm, mm=mm, u_mm=u_mm, **kwargs)  # type: ignore[arg-type]
    classes = classify(width, read_documents([document]))
    return classes[0].label if classes else "nothing"


def test_shipped_documents_name_their_standing() -> None:
    documents = {d.name: d for d in read_documents()}
    assert {"ACI 224R", "EN 1992-3 class 1", "GB 50010", "DL/T 5251 mass"} <= set(documents)
    assert not documents["DL/T 5251 mass"].verified
    assert documents["ACI 224R"].verified
    assert documents["GB 50010"].limits_mm == (0.2, 0.3, 0.4)
    assert all(d.edition and d.title and d.note for d in documents.values())


def test_a_class_needs_the_whole_interval() -> None:
    assert label(0.25, 0.04) == "0.2 to 0.3 mm"
    assert label(0.25, 0.06) is None
    assert label(0.25, 0.05) == "0.2 to 0.3 mm" or label(0.25, 0.05) is None
    assert label(3.0, 1.5) == "over 1 mm"
    assert label(0.05, 0.04) == "up to 0.1 mm"


def test_a_limit_belongs_to_the_class_below_it() -> None:
    assert label(0.2, 0.0) == "0.1 to 0.2 mm"
    assert label(0.2001, 0.0) == "0.2 to 0.3 mm"


def test_below_detection_means_up_to_its_bound() -> None:
    assert label(None, None, high_px=1.0, high_mm=0.08, status="below_detection") == "up to 0.1 mm"
    assert label(None, None, high_px=1.0, high_mm=0.15, status="below_detection") is None


def test_an_interval_that_reaches_further_up_supports_no_class() -> None:
    assert label(0.15, None, low_mm=0.11, high_mm=0.19) == "0.1 to 0.2 mm"
    assert label(0.15, None, low_mm=0.11, high_mm=0.34) is None


def test_nothing_without_millimetres() -> None:
    assert classify(Measure(px=2.0, u_px=0.2), read_documents(["bins"])) == ()
    assert label(None, None, status="not_resolvable") == "nothing"


def test_own_file_and_own_order(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        '[[document]]\nname = "ours"\ntitle = "t"\nedition = "1"\nverified = true\n'
        'classes = [{up_to_mm = 0.5, label = "fine"}, {label = "coarse"}]\n',
        encoding="utf-8",
    )
    classes = classify(Measure(px=2.0, mm=0.9, u_mm=0.1), read_documents((), path))
    assert [(c.document, c.label, c.verified) for c in classes] == [("ours", "coarse", True)]
    with pytest.raises(UnknownName, match="ours"):
        read_documents(["ACI 224R"], path)


@pytest.mark.parametrize(
    "classes",
    [
        '[{up_to_mm = 0.5, label = "a"}, {up_to_mm = 0.2, label = "b"}, {label = "c"}]',
        '[{up_to_mm = 0.5, label = "a"}]',
        '[{label = "a"}, {label = "b"}]',
        '[{up_to_mm = nan, label = "a"}, {label = "b"}]',
        '[{up_to_mm = inf, label = "a"}, {label = "b"}]',
        '[{up_to_mm = -0.1, label = "a"}, {label = "b"}]',
        "[]",
        '"fine"',
    ],
    ids=["order", "no open end", "no limit", "nan", "inf", "below 0", "empty", "text"],
)
def test_malformed_classes_are_refused(tmp_path: Path, classes: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        '[[document]]\nname = "x"\ntitle = "t"\nedition = "1"\nverified = true\n'
        f"classes = {classes}\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError):
        read_documents((), path)


def test_a_file_without_documents_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.toml"
    path.write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="document"):
        read_documents((), path)
