"""Results in an object store: the files of a folder, never half, and nobody else's replaced."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import exit_code
from dark_model import write_dark_model
from object_store import Store, serving
from same_results import draw_walls
from test_cluster import RAY, Rays

from crackseg import batch, cluster, store_clients, tasks
from crackseg.config import AnalyzeOptions, EngineOptions, PredictOptions
from crackseg.errors import ConfigError, MissingExtra, OutputError, StoreError
from crackseg.folders import MARK, place_to_go_on
from crackseg.inputs import find_inputs
from crackseg.stores import StorePath, is_store, store_path
from crackseg.survey import find_survey
from crackseg.tally import read_report
from crackseg.tasks import Outcome

pytest.importorskip("obstore", reason="extra remote is not installed")
OUT = "s3://dam/2026/results"
COMMAND = "import sys; from crackseg.cli import main; sys.exit(main())"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    store = Store()
    with serving(store) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        key = {"gcs_base_url": store.address, "disable_oauth": True, "client_email": ""}
        key |= {"private_key": "", "private_key_id": ""}
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(key))
        monkeypatch.setattr(store_clients, "RETRIES", 0)
        store_clients.bucket_client.cache_clear()
        yield store
        store_clients.bucket_client.cache_clear()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_dark_model(tmp_path / "dark")


@pytest.fixture
def walls(tmp_path: Path) -> list[Path]:
    (tmp_path / "in").mkdir()
    return draw_walls(tmp_path / "in", 3)


def analyzed(
    paths: list[Path], out: Path | str, model: Path, *, workers: int = 1, **how: Any
) -> list[Outcome]:
    predict = PredictOptions(runtime="onnx", precision="float", threads=1, workers=workers)
    exports = how.pop("exports", ("csv", "mask", "page"))
    options = AnalyzeOptions(model=str(model), predict=predict, exports=exports)
    place = store_path(out) if is_store(out) else Path(out)
    return batch.run(paths, place, options, **how)


def states(outcomes: list[Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def on_disk(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def told(files: dict[str, bytes]) -> dict[str, Any]:
    """Return files without the times that differ from run to run."""
    content: dict[str, Any] = dict(files)
    for name, data in files.items():
        if name.endswith(MARK):
            content[name] = sorted(json.loads(data)["files"])
        elif name.endswith("report.json"):
            report = json.loads(data)
            del report["timing_s"], report["options"]["predict"]["workers"]
            content[name] = report
        elif name == "survey.json":
            survey = json.loads(data)
            content[name] = [survey["images"], survey["totals"], survey["passed_over"]]
        elif name == "index.html":
            content[name] = len(data)
    return content


def in_memory(out: str) -> dict[str, bytes]:
    import fsspec

    system, root = fsspec.filesystem("memory"), "/" + out.removeprefix("memory://")
    return {name[len(root) + 1 :]: system.cat_file(name) for name in system.find(root)}


def whole(files: dict[str, bytes], name: str) -> bool:
    """Return whether a reader takes a folder for whole; raise where it is not and says so."""
    mark = json.loads(files.get(f"{name}/{MARK}", b'{"complete": false}'))
    if mark["complete"]:
        for file, digests in mark["files"].items():
            assert hashlib.sha256(files[f"{name}/{file}"]).hexdigest() in digests
    return bool(mark["complete"])


def test_what_an_address_is() -> None:
    assert [is_store(text) for text in ("s3://a/b", "gs:/a", "memory://a", "file:///a")] == [
        True
    ] * 4
    assert not any(is_store(text) for text in ("a/b", "/a", "C:/a", "dam: north", "./s3://a"))
    path = store_path("S3://dam/2026//results/")
    assert (str(path), path.name, str(path / "a b")) == (OUT, "results", f"{OUT}/a b")
    assert (path.parent.name, path.resolve(), pickle.loads(pickle.dumps(path))) == (
        "2026", path, path,
    )  # fmt: skip
    assert store_path("file:///tmp/out") == store_path("file://localhost/tmp/out")
    assert store_path("file:///tmp/out") == Path("/tmp/out")
    assert not isinstance(store_path("file:///tmp/out"), StorePath)
    with pytest.raises(ConfigError, match="must hold no password, got one of s3") as error:
        store_path("s3://me:hidden@dam/results")
    assert "hidden" not in str(error.value)
    for address, got in (("https://a.org/out", "of https"), ("nosuch://a", r"of nosuch \(Proto")):
        with pytest.raises(ConfigError, match=f"a folder or an object store, got an address {got}"):
            store_path(address)


def test_an_address_of_this_machine_is_decoded() -> None:
    assert store_path("file:///tmp/a%20b") == store_path("file:/tmp/a%20b") == Path("/tmp/a b")
    assert store_path(Path("file:///tmp/a%20b")) == Path("/tmp/a b")
    for address in ("file://server/share/a", "file://server", "file:///a%00b"):
        with pytest.raises(ConfigError, match="must be an address of this machine"):
            store_path(address)


@pytest.mark.parametrize("text", ["s3://", "s3:", "s3:/", "s3:dam", "gs:dam/a", "file:", "sftp:a"])
def test_half_an_address_makes_no_folder(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (f"analyze a.png --out {text}", f"measure a.png --out {text}"):
        monkeypatch.setattr("sys.argv", ["crackseg", *command.split()])
        assert exit_code() == 2
        assert "must be a" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="must be an address"):
        find_inputs([text])


@pytest.mark.parametrize("text", ["s3:/dam/a/", "s3:///dam/a", "gs:/a.tif", "https:/a.org/b.tif"])
def test_slashes_of_an_input_are_two(text: str) -> None:
    with pytest.raises(ConfigError, match="must be an address as"):
        find_inputs([text])


def test_inputs_of_this_machine_may_be_addresses(tmp_path: Path) -> None:
    wall = tmp_path / "dam north" / "a.png"
    wall.parent.mkdir()
    draw_walls(tmp_path, 2)[0].rename(wall)
    (tmp_path / "list.txt").write_text(wall.as_uri())
    for text in (wall.as_uri(), wall.parent.as_uri() + "/", str(tmp_path / "list.txt")):
        assert find_inputs([text]).paths == (wall,)
    assert find_survey([wall.parent.as_uri()], []) is None
    with pytest.raises(ConfigError, match="photographs come from a disk or"):
        find_inputs(["memory://a/b.png"])
    (tmp_path / "dam: north").mkdir()
    assert find_inputs([str(tmp_path / "dam:x.png")]).paths == (tmp_path / "dam:x.png",)


def test_a_driver_gets_what_its_address_names(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem
    from fsspec.utils import infer_storage_options

    class Needy(MemoryFileSystem):  # as that of sftp
        protocol = "needy"
        asked: tuple[str, str | None] = ("", None)

        def __init__(self, host: str, username: str | None = None, **unused: Any) -> None:
            super().__init__()
            type(self).asked = host, username
            if host == "gone":
                raise OSError("no such host")

        @staticmethod
        def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
            found = infer_storage_options(path)
            return {name: found[name] for name in ("host", "username") if name in found}

    fsspec.register_implementation("needy", Needy, clobber=True)
    store_path("needy://me@server/results")
    assert Needy.asked == ("server", "me")
    with pytest.raises(ConfigError, match="must hold no password"):
        store_path("needy://me:hidden@server/results")
    with pytest.raises(StoreError, match="`needy://gone` cannot be reached: no such host; check"):
        store_path("needy://gone/results")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (404, "answers 404; check the name of the bucket"),
        (403, "answers 403; check the name of the bucket and the credentials"),
        (401, "answers 401; check the name of the bucket and the credentials"),
        (301, "wrong region; check AWS_REGION"),
        (400, "answers 400; check the address and the settings"),
        (429, "tried 1 times; run again, it goes on"),
        (503, "tried 1 times; run again, it goes on"),
    ],
)
def test_what_does_not_pass_is_not_advised_to_be_run_again(
    status: int, told: str, store: Store
) -> None:
    store.status = status
    with pytest.raises(StoreError, match=told) as error:
        find_inputs(["s3://dam/flight/"])
    assert ("run again, it goes on" in str(error.value)) == (status in (429, 503))


def test_missing_credentials_are_to_be_set() -> None:
    text = "Error performing PUT http://169.254.169.254/latest/api/token in 1s"
    assert store_clients.advice_for(OSError(text)).startswith("set them, for s3 AWS_ACCESS_KEY_ID")


@pytest.mark.parametrize("out", [OUT, "gs://dam/2026/results", "memory://results"])
def test_the_files_are_those_of_a_folder_and_nothing_is_analyzed_twice(
    out: str, store: Store, walls: list[Path], model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("fsspec")
    local = analyzed(walls, tmp_path / "local", model)
    first = analyzed(walls, out, model)
    assert states(first) == states(local)
    assert first[0].folder is not None
    assert str(first[0].folder) == f"{out}/wall_0"
    prefix = out.partition("://")[2]
    files = in_memory(out) if out.startswith("memory") else store.below(prefix)
    assert told(files) == told(on_disk(tmp_path / "local"))
    again = analyzed(walls, out, model)
    assert states(again) == ["unchanged", "unchanged", "failed", "unchanged"]
    after = in_memory(out) if out.startswith("memory") else store.below(prefix)
    assert {name for name in files if after[name] != files[name]} <= {
        MARK, "survey.json", "index.html", "summary.csv",
    }  # fmt: skip
    assert after.keys() == files.keys()
    json_survey = json.loads(after["survey.json"])
    assert [row["status"] for row in json_survey["images"]].count("unchanged") == 3


def test_a_later_run_tells_of_earlier_ones(store: Store, walls: list[Path], model: Path) -> None:
    analyzed(walls[:2], OUT, model)
    analyzed(walls[3:], OUT, model)
    survey = json.loads(store.below("dam/2026/results")["survey.json"])
    assert [row["status"] for row in survey["images"]] == ["analyzed", "earlier", "earlier"]


def test_records_are_asked_for_once(store: Store, walls: list[Path], model: Path) -> None:
    analyzed(walls, OUT, model)
    store.asked.clear()
    analyzed(walls, OUT, model)
    reports = [asked for asked in store.asked if asked.endswith("/report.json")]
    assert sorted(set(reports)) == sorted(reports)
    assert len(reports) == 3


@pytest.mark.parametrize("puts", range(1, 31, 2))
def test_a_store_that_is_lost_at_any_time_holds_nothing_half(
    puts: int, store: Store, walls: list[Path], model: Path, tmp_path: Path
) -> None:
    names = ("wall_0", "wall_1", "wall_2")
    store.puts_left = puts
    with pytest.raises(StoreError, match=r"cannot be read or written: its server answers 503"):
        analyzed(walls, OUT, model)
    before = store.below("dam/2026/results")
    done = [name for name in names if whole(before, name)]
    assert len(done) == (puts - 1) // 8  # one is the trial, a photograph is six files and two marks
    store.puts_left = 10**9
    for name in set(names) - set(done):
        assert read_report(store_path(f"{OUT}/{name}")) is None
    outcomes = analyzed(walls, OUT, model)
    assert states(outcomes).count("unchanged") == len(done)
    analyzed(walls, tmp_path / "local", model)
    after = store.below("dam/2026/results")
    assert {n: v for n, v in told(after).items() if "/" in n} == {
        n: v for n, v in told(on_disk(tmp_path / "local")).items() if "/" in n
    }
    for name in done:
        assert all(after[file] == before[file] for file in before if file.startswith(name))


def test_a_connection_that_is_gone_ends_the_run_and_the_same_command_goes_on(
    store: Store, walls: list[Path], model: Path
) -> None:
    outcomes: list[Outcome] = []

    def end(outcome: Outcome) -> None:
        outcomes.append(outcome)
        store.status = 500

    listener = batch.Listener(end=end)
    with pytest.raises(
        StoreError, match="server answers 500, tried 1 times; run again, it goes on"
    ):
        analyzed(walls, OUT, model, listener=listener)
    assert states(outcomes) == ["analyzed", "failed"]
    assert "has gone or was replaced" in str(outcomes[1].reason) or "500" in str(outcomes[1].reason)
    store.status = 0
    again = analyzed(walls, OUT, model)
    assert states(again) == ["unchanged", "analyzed", "failed", "analyzed"]


def test_an_outage_of_one_answer_loses_one_photograph(
    store: Store, walls: list[Path], model: Path
) -> None:
    def end(outcome: Outcome) -> None:
        store.status = 503 if outcome.path == walls[0] else 0

    store.status_of = "PUT"
    outcomes = analyzed(walls[:2] + walls[3:], OUT, model, listener=batch.Listener(end=end))
    assert states(outcomes) == ["analyzed", "failed", "analyzed"]
    assert "wall_1/" in str(outcomes[1].reason)
    survey = json.loads(store.below("dam/2026/results")["survey.json"])
    assert survey["totals"]["failed"] == 1


def test_a_killed_program_loses_nothing_that_was_finished(
    store: Store, walls: list[Path], model: Path
) -> None:
    inside = walls[0].parent
    command = [sys.executable, "-c", COMMAND, "analyze", str(inside), "--model", str(model)]
    command += ["--out", OUT, "--exports", "csv,mask,page", "--quiet"]
    paths = [path for path in sys.path if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(command, env=environment)
    store.when_put(13, process.kill)  # within the second photograph
    process.wait()
    before = store.below("dam/2026/results")
    assert whole(before, "wall_0")
    assert not whole(before, "wall_1")
    assert f"wall_1/{MARK}" in before
    assert subprocess.run(command, env=environment).returncode == 1  # one is broken
    after = store.below("dam/2026/results")
    assert all(whole(after, name) for name in ("wall_0", "wall_1", "wall_2"))
    assert {n: v for n, v in after.items() if n.startswith("wall_0")} == {
        n: v for n, v in before.items() if n.startswith("wall_0")
    }


def test_what_others_put_there_stays(store: Store, walls: list[Path], model: Path) -> None:
    store.objects["dam/2026/results/wall_0/notes.txt"] = b"mine"
    outcomes = analyzed(walls[:2], OUT, model)
    assert [Path(str(outcome.folder)).name for outcome in outcomes] == ["in_wall_0", "wall_1"]
    assert store.below("dam/2026/results/wall_0") == {"notes.txt": b"mine"}
    store.objects["dam/2026/results/wall_1/mask.png"] = b"corrected by hand"
    with_page = analyzed(walls[1:2], OUT, model, overwrite=True)
    assert states(with_page) == ["failed"]
    assert "mask.png` was changed since crackseg wrote it" in str(with_page[0].reason)
    assert store.objects["dam/2026/results/wall_1/mask.png"] == b"corrected by hand"
    store.objects["dam/other/survey.json"] = b"{}"
    with pytest.raises(OutputError, match=r"survey\.json` was not written by crackseg"):
        analyzed(walls[:2], "s3://dam/other", model)
    assert store.below("dam/other") == {"survey.json": b"{}"}


def test_files_that_are_not_wanted_any_more_go(
    store: Store, walls: list[Path], model: Path
) -> None:
    analyzed(walls[:1], OUT, model)
    store.objects["dam/2026/results/wall_0/notes.txt"] = b"mine"
    analyzed(walls[:1], OUT, model, exports=("csv",))
    assert sorted(store.below("dam/2026/results/wall_0")) == [
        MARK, "cracks.csv", "notes.txt", "report.json",
    ]  # fmt: skip


@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_whoever_analyzes_puts_its_own(
    engine: str, store: Store, walls: list[Path], model: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def work_off(start: Any, tasks: Any, options: EngineOptions) -> Iterator[Any]:
        yield from cluster._Crew(Rays(), start, options).work_off(tasks)

    monkeypatch.setitem(batch.ENGINES, "ray", work_off)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # an actor here sets it
    monkeypatch.chdir(tmp_path)
    how: dict[str, Any] = {"workers": 2} if engine == "processes" else {"engine": RAY}
    analyzed(walls, tmp_path / "local", model)
    outcomes = analyzed(walls, OUT, model, **how)
    assert states(outcomes) == ["analyzed", "analyzed", "failed", "analyzed"]
    assert told(store.below("dam/2026/results")) == told(on_disk(tmp_path / "local"))
    assert states(analyzed(walls, OUT, model, **how)).count("unchanged") == 3


def test_a_machine_that_does_not_see_the_store_is_refused(model: Path) -> None:
    """A memory is one process's own."""
    from crackseg.inference.models import load_model

    pytest.importorskip("fsspec")
    place = store_path("memory://elsewhere/.crackseg-00000000")
    with pytest.raises(ConfigError, match="must be the same place for every machine"):
        tasks.start_away(str(model), PredictOptions(), load_model(model).card, Path.cwd(), place)


def refused(store: Store, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "bucket":
        store.buckets.clear()
    elif kind == "away":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    else:
        store.status, store.status_of = int(kind[:3]), kind[3:]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("bucket", "cannot be written: `s3://dam` does not exist; make it first"),
        ("403", r"cannot be read or written: its server refuses \(403\)"),
        ("403PUT", r"cannot be read or written: its server refuses \(403\)"),
        ("401", r"its server refuses \(401\)"),
        ("500", "its server answers 500, tried 1 times"),
        ("away", "its server does not answer, tried 1 times"),
    ],
)
def test_what_a_store_refuses_is_one_sentence(
    kind: str, reason: str, store: Store, walls: list[Path], model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    refused(store, monkeypatch, kind)
    with pytest.raises(StoreError, match=reason) as error:
        analyzed(walls, OUT, model)
    assert "hidden" not in str(error.value)
    assert not store.objects


def test_the_command_line_tells_it_in_one_sentence(
    store: Store, walls: list[Path], model: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = ["crackseg", "analyze", str(walls[0]), "--model", str(model), "-o", OUT]
    monkeypatch.setattr("sys.argv", command)
    assert exit_code() == 0
    assert f"Report: {OUT}/wall_0" in capsys.readouterr().out
    store.buckets.clear()
    assert exit_code() == 2
    text = capsys.readouterr().err.strip()
    assert text.startswith("crackseg: ")
    assert len(text.splitlines()) == 1


def test_photographs_of_a_prefix_are_found_and_results_are_none(
    store: Store, walls: list[Path], model: Path, tmp_path: Path
) -> None:
    for wall in walls:
        store.objects[f"dam/flight/day 1/{wall.name}"] = wall.read_bytes()
    odd = ("day 1/film.mp4", "@eaDir/wall.png", ".old/a/wall.png", "b.icns", "c.jpg.part")
    for name in ("notes.txt", ".hidden.png", "__MACOSX/._wall.png", *odd):
        store.objects[f"dam/flight/{name}"] = b"\0"
    store.objects["dam/flight/README"] = b"Taken in May."
    store.objects["dam/flight/day 1/bare"] = walls[0].read_bytes()
    store.objects["dam/flight/survey.toml"] = b'dam = "North"\n'
    found = find_inputs(["s3://dam/flight/"])
    assert [path.name for path in found.paths] == [
        "bare", "broken.jpg", "wall_0.png", "wall_1.png", "wall_2.png",
    ]  # fmt: skip
    assert [item.path.name for item in found.passed] == [
        ".hidden.png", ".old", "@eaDir", "b.icns", "c.jpg.part", "film.mp4",
    ]  # fmt: skip
    facts = find_survey(["s3://dam/flight/"], found.paths)
    assert facts is not None
    assert facts.dam == "North"
    for out in ("s3://dam/flight/results", "s3://dam/flight"):
        outcomes = analyzed(list(found.paths), out, model)
        assert states(outcomes) == ["analyzed", "failed", "analyzed", "analyzed", "analyzed"]
        assert find_inputs(["s3://dam/flight/"], store_path(out)).paths == found.paths
    with pytest.raises(ConfigError, match="`s3://dam/none/` holds no image"):
        find_inputs(["s3://dam/none/"])


def test_the_command_line_goes_from_a_bucket_to_a_bucket(
    store: Store, walls: list[Path], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.objects["dam/flight/wall.png"] = walls[0].read_bytes()
    command = f"crackseg analyze s3://dam/flight/ --out {OUT} --model {model} --quiet"
    monkeypatch.setattr("sys.argv", command.split())
    assert exit_code() == 0
    assert json.loads(store.below("dam/2026/results")["wall/report.json"])["image"]["path"] == (
        "s3://dam/flight/wall.png"
    )


def test_what_a_killed_run_goes_on_from_is_on_this_machine() -> None:
    first, second = (place_to_go_on(store_path(f"s3://{name}/wall")) for name in ("a", "b"))
    assert first != second
    assert not isinstance(first, StorePath)
    assert first.parent.is_dir()


@pytest.mark.parametrize(("address", "name"), [("s3://dam/a", "obstore"), ("memory://a", "fsspec")])
def test_without_the_extra_it_is_named(
    address: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_clients.bucket_client.cache_clear()
    store_clients.other_client.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=rf"`{name}`.*pip install 'crackseg\[remote\]'"):
        store_path(address)
