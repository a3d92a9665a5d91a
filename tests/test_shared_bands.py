"""The bands of a large raster are read by the actors of a cluster; the files are those of one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from dark_model import write_dark_model
from same_results import assert_same
from test_cluster import RAY, Rays

from crackseg import batch, cluster
from crackseg.config import AnalyzeOptions, EngineOptions, PredictOptions, RegionOptions
from crackseg.errors import ConfigError, ImageError
from crackseg.inference import band_files, predictor, shared
from crackseg.inference.shared import Bands
from crackseg.tasks import Outcome

TILE_ROWS = 19  # of 1,800 px, in tiles of 128 px that overlap by 32


@dataclass
class BandRays(Rays):
    """Rays whose actors may die over bands, and who read which rows of tiles."""

    fatal: dict[int, int] = field(default_factory=dict)  # first row of a band -> deaths
    rows: list[range] = field(default_factory=list)
    broken: bool = False  # whoever reads a band cannot open the raster

    def _answer(self, actor: Any, name: str, arguments: tuple[Any, ...]) -> Any:
        task = arguments[0] if name == "work" else None
        if isinstance(task, Bands):
            if self.fatal.get(task.start, 0) > 0:
                self.fatal[task.start] -= 1
                raise self.exceptions.RayError("out of memory")
            if self.broken:
                task = replace(task, path=Path("away.tif"))
                return super()._answer(actor, name, (task,))
            self.rows.append(range(task.start, task.stop))
        return super()._answer(actor, name, arguments)


@pytest.fixture
def rays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BandRays:
    """A cluster in this process, in which every picture is a large one."""
    rays = BandRays()

    def work_off(start: Any, tasks: Any, options: EngineOptions) -> Iterator[Any]:
        yield from cluster._Crew(rays, start, options).work_off(tasks)

    monkeypatch.setitem(batch.ENGINES, "ray", work_off)
    monkeypatch.setattr(band_files, "IN_MEMORY_PX", 1000)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    return rays


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    """A wall with a line from its top to its bottom, across all bands, and a hole without data."""
    rng = np.random.default_rng(5)
    pixels = np.clip(rng.normal(170, 4, (1800, 200, 4)), 0, 255).astype(np.uint8)
    rows = np.arange(1800)
    for shift in range(5):
        pixels[rows, (100 + 30 * np.sin(rows / 90)).astype(int) + shift, :3] = 30
    pixels[..., 3] = 255
    pixels[600:900, :60, 3] = 0
    path = tmp_path / "wall.tif"
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", extrasamples=("unassalpha",))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_dark_model(tmp_path / "dark")


def analyzed(
    path: Path, out: Path, model: Path, engine: EngineOptions | None = None, **how: Any
) -> list[Outcome]:
    predict = PredictOptions(runtime="onnx", precision="float", threads=1, overlap_px=32)
    region = RegionOptions(ignore=how.pop("ignore", None))
    options = AnalyzeOptions(
        model=str(model), predict=predict, exports=("csv", "mask"), region=region
    )
    return batch.run([path], out, options, engine=engine, **how)


def test_the_files_are_those_of_one_machine(
    rays: BandRays, raster: Path, model: Path, tmp_path: Path
) -> None:
    one = analyzed(raster, tmp_path / "one", model)
    shares: list[float] = []
    listener = batch.Listener(step=lambda path, share: shares.append(share))
    two = analyzed(raster, tmp_path / "two", model, RAY, listener=listener)
    assert_same(one, two)
    assert [row for rows in rays.rows for row in sorted(rows)]
    assert sorted(row for rows in rays.rows for row in rows) == list(range(TILE_ROWS))
    assert len(rays.rows) == 4  # two of each actor
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"wall"}
    again = analyzed(raster, tmp_path / "two", model, RAY)
    assert [outcome.status for outcome in again] == ["unchanged"]


def test_what_is_not_looked_at_is_so_for_all(
    rays: BandRays, raster: Path, model: Path, tmp_path: Path
) -> None:
    mask = np.zeros((1800, 200), np.uint8)
    mask[400:1300] = 255
    tifffile.imwrite(tmp_path / "ignore.tif", mask)
    ignore = tmp_path / "ignore.tif"
    one = analyzed(raster, tmp_path / "one", model, ignore=ignore)
    assert_same(one, analyzed(raster, tmp_path / "two", model, RAY, ignore=ignore))
    assert rays.rows


@pytest.mark.parametrize("deaths", [1, 99])
def test_a_band_whose_actor_dies_is_read_again(
    deaths: int, rays: BandRays, raster: Path, model: Path, tmp_path: Path
) -> None:
    rays.fatal = {5: deaths}
    one = analyzed(raster, tmp_path / "one", model)
    assert_same(one, analyzed(raster, tmp_path / "two", model, RAY))
    assert (5 in [rows.start for rows in rays.rows]) == (deaths == 1)


def test_a_band_that_cannot_be_read_there_is_read_here(
    rays: BandRays, raster: Path, model: Path, tmp_path: Path
) -> None:
    rays.broken = True
    one = analyzed(raster, tmp_path / "one", model)
    assert_same(one, analyzed(raster, tmp_path / "two", model, RAY))


class Killed(BaseException):
    """Stands for a signal that nobody catches."""


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_finished_bands_of_a_killed_run_are_not_read_again(
    share: float, rays: BandRays, raster: Path, model: Path, tmp_path: Path
) -> None:
    def die(path: Path, done: float) -> None:
        if done >= share:
            raise Killed

    one = analyzed(raster, tmp_path / "one", model)
    with pytest.raises(Killed):
        analyzed(raster, tmp_path / "two", model, RAY, listener=batch.Listener(step=die))
    first, rays.rows = {row for rows in rays.rows for row in rows}, []
    two = analyzed(raster, tmp_path / "two", model, RAY)
    assert_same(one, two)
    second = {row for rows in rays.rows for row in rows}
    kept = next(row for row in range(TILE_ROWS + 1) if row >= share * TILE_ROWS)
    assert second == set(range(min(second, default=TILE_ROWS), TILE_ROWS))
    assert min(second, default=TILE_ROWS) >= kept
    assert set(range(kept)) <= first


def test_a_run_on_one_machine_goes_on_after_a_cluster_and_the_other_way_round(
    rays: BandRays, raster: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(path: Path, done: float) -> None:
        if done >= 0.5:
            raise Killed

    one = analyzed(raster, tmp_path / "one", model)
    dying = batch.Listener(step=die)
    with pytest.raises(Killed):
        analyzed(raster, tmp_path / "two", model, listener=dying)
    assert_same(one, analyzed(raster, tmp_path / "two", model, RAY))
    assert min(rows.start for rows in rays.rows) >= TILE_ROWS // 2
    with pytest.raises(Killed):
        analyzed(raster, tmp_path / "three", model, RAY, listener=dying)
    read: list[range] = []
    true_read = predictor.TileRows.read
    monkeypatch.setattr(
        predictor.TileRows, "read",
        lambda rows, part, *rest: (read.append(part), true_read(rows, part, *rest))[1],
    )  # fmt: skip
    assert_same(one, analyzed(raster, tmp_path / "three", model))
    assert min(part.start for part in read) >= TILE_ROWS // 2 - 1


def test_where_this_machine_has_no_such_device_one_actor_reads_all(
    rays: BandRays, raster: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = analyzed(raster, tmp_path / "one", model)

    def none(*unused: Any) -> None:
        raise ConfigError("no such device here")

    monkeypatch.setattr(batch, "Raster", none)
    assert_same(one, analyzed(raster, tmp_path / "two", model, RAY))
    assert not rays.rows


def test_a_raster_that_is_damaged_is_named(
    rays: BandRays, raster: Path, model: Path, tmp_path: Path
) -> None:
    data = bytearray(raster.read_bytes())
    with tifffile.TiffFile(raster) as file:
        offsets = file.pages[0].dataoffsets
    raster.write_bytes(data[: offsets[len(offsets) // 2]])
    one = analyzed(raster, tmp_path / "one", model)
    two = analyzed(raster, tmp_path / "two", model, RAY)
    assert [outcome.status for outcome in (*one, *two)] == ["failed", "failed"]
    assert one[0].reason == two[0].reason


def test_photographs_stay_one_task(
    rays: BandRays, raster: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(band_files, "IN_MEMORY_PX", 10**6)
    assert [o.status for o in analyzed(raster, tmp_path / "two", model, RAY)] == ["analyzed"]
    assert not rays.rows


def test_memory_that_runs_out_there_is_told_here(
    raster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def read_bands(self, *unused: Any) -> None:
            raise MemoryError

    options = AnalyzeOptions()
    bands = Bands(raster, "0" * 64, options, options.predict, 0, 4, 0.5)
    assert shared.read_bands(lambda chosen: Full(), bands) is None  # type: ignore[arg-type, return-value]
    missing = replace(bands, path=Path("away.tif"))
    with pytest.raises(ImageError):
        shared.read_bands(lambda chosen: Full(), missing)  # type: ignore[arg-type, return-value]


@pytest.mark.slow  # Ray takes ten seconds to start
def test_real_actors_read_bands(
    raster: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="extra cluster is not installed")
    monkeypatch.setattr(band_files, "IN_MEMORY_PX", 1000)  # asked where the run began
    root = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(root.parent)]))
    taken: list[Bands] = []
    true_take = shared.Raster.take

    def take(self: shared.Raster, bands: Bands, answer: Any) -> None:
        assert answer is not None
        taken.append(bands)
        true_take(self, bands, answer)

    monkeypatch.setattr(shared.Raster, "take", take)
    one = analyzed(raster, tmp_path / "one", model)
    assert_same(one, analyzed(raster, tmp_path / "two", model, RAY))
    assert len(taken) == 4


# What a program does when the second band of a raster returns: die, or kill an actor.
DYING = """
import os, pathlib, signal, sys
from crackseg.inference import band_files, shared
band_files.IN_MEMORY_PX = 1000
how, taken, true_take = sys.argv.pop(1), [], shared.Raster.take
def take(self, bands, answer):
    assert answer is not None
    true_take(self, bands, answer)
    taken.append(bands.start)
    print("took", bands.start, flush=True)
    if how == "die" and len(taken) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "kill" and len(taken) == 2:
        for place in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                mine = os.environ["MINE"].encode() in place.with_name("environ").read_bytes()
                if mine and place.read_bytes().startswith(b"ray::_Actor"):
                    os.kill(int(place.parent.name), signal.SIGKILL)
                    print("killed", flush=True)
                    break
            except OSError:
                continue
shared.Raster.take = take
from crackseg.cli import main
sys.exit(main())
"""


@pytest.mark.slow  # Ray is started three times
def test_killed_for_true(
    raster: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="extra cluster is not installed")
    if not Path("/proc").is_dir():
        pytest.skip("processes are found in /proc")
    (tmp_path / "options.toml").write_text("[predict]\nthreads = 1\noverlap_px = 32\n")
    paths = [str(Path(__file__).parents[1]), *(path for path in sys.path if path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MINE": str(tmp_path)}

    def run(how: str, out: str) -> list[str]:
        command = [sys.executable, "-c", DYING, how, "analyze", str(raster), "--out", out, "-q"]
        command += ["--model", str(model), "--exports", "csv,mask", "--engine", "ray"]
        command += ["--runtime", "onnx", "--precision", "float", "--workers", "3"]
        command += ["--config", "options.toml"]
        answer = subprocess.run(
            command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        return [line for line in answer.stdout.splitlines() if line.startswith(("took", "killed"))]

    analyzed(raster, tmp_path / "one", model)
    assert run("die", "two") == ["took 0", "took 4"]
    assert run("live", "two") == ["took 8", "took 12", "took 16"]
    assert run("kill", "three") == ["took 0", "took 4", "killed", "took 8", "took 12", "took 16"]
    for other in ("two", "three"):
        for name in ("cracks.csv", "mask.png"):
            there = (tmp_path / "one" / "wall" / name).read_bytes()
            assert (tmp_path / other / "wall" / name).read_bytes() == there
