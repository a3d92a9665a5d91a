"""Ask whether a cluster loses anything: ``cluster.py FOLDER [--photographs N] [--rounds N]``.

Small rendered photographs are analyzed by one process, by ``--workers 2`` and by two actors of a
Ray on this machine, the last two in turns. Then an actor is killed in the middle of a run, and the
whole program in the middle of another, which the same command ends. The answer: seconds of each,
photographs lost, photographs analyzed twice, and files that differ from those of the one process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crackseg.metrology.phantoms import Look, Stroke, draw

SIZE_PX = (240, 320)
START = "import sys; from crackseg.cli import main; sys.exit(main())"
COMMON = ["--runtime", "onnx", "--precision", "float"]  # else each process may choose another
RAY = ["--engine", "ray", "--workers", "2"]


def render(folder: Path, count: int) -> None:
    """Write the photographs that are not there: a wall with one crack each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"wall_{number:03}.jpg"
        if path.exists():
            continue
        rng = np.random.default_rng(number)
        cols = np.linspace(30, 290, 400)
        rows = rng.uniform(80, 160) + np.cumsum(rng.normal(0, 0.6, 400))
        widths = np.full(400, rng.uniform(2, 6))
        stroke = Stroke(points=np.column_stack([rows, cols]), width_px=widths)
        picture = draw(SIZE_PX, [stroke], Look(), rng).picture
        Image.fromarray(picture).save(path, quality=92)


def begin(photographs: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start an analysis."""
    command = [sys.executable, "-c", START, "analyze", str(photographs), "--out", str(out)]
    return subprocess.Popen([*command, "--quiet", *COMMON, *options], stderr=subprocess.DEVNULL)


def seconds(photographs: Path, out: Path, *options: str) -> float:
    """Return the seconds of an analysis into a new folder."""
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    if begin(photographs, out, *options).wait():
        raise SystemExit(f"the analysis with {options} failed")
    return time.perf_counter() - started


def below(process: int) -> dict[int, str]:
    """Return the processes that one started, and those that these did, and their names."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            facts = (folder / "stat").read_text().rpartition(")")[2].split()
            names[int(folder.name)] = (folder / "cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        parents[int(folder.name)] = int(facts[1])
    found = {process}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: names[pid] for pid in found - {process}}


def reports(out: Path) -> dict[str, tuple[int, int]]:
    """Return the results that are whole, and what tells a report from one written anew."""
    facts = {path.parent.name: path.stat() for path in out.glob("[!.]*/report.json")}
    return {name: (fact.st_ino, fact.st_mtime_ns) for name, fact in facts.items()}


def wait_for(out: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until so many photographs are done."""
    while len(reports(out)) < count and process.poll() is None:
        time.sleep(0.2)


def content(out: Path) -> dict[str, Any]:
    """Return every file of every result; of a report all but its seconds."""
    files: dict[str, Any] = {}
    for path in out.glob("[!.]*/[!.]*"):
        name = path.relative_to(out).as_posix()
        files[name] = path.read_bytes()
        if path.name == "report.json":
            files[name] = json.loads(files[name])
            del files[name]["timing_s"]
            del files[name]["options"]["predict"]["workers"]
    return files


def compare(out: Path, one: Path) -> dict[str, Any]:
    """Return what a folder lacks of that of one process, and what differs there."""
    here, there = content(out), content(one)
    rows = json.loads((out / "survey.json").read_text(encoding="utf-8"))["images"]
    status = [row["status"] for row in rows]
    return {
        "status": {name: status.count(name) for name in sorted(set(status))},
        "lost": sorted(set(there) - set(here)),
        "files": len(there),
        "differ": sorted(name for name in there if name in here and here[name] != there[name]),
    }


def kill_actor(photographs: Path, out: Path, count: int) -> dict[str, Any]:
    """Run, and kill an actor when a third is done."""
    shutil.rmtree(out, ignore_errors=True)
    process = begin(photographs, out, *RAY)
    wait_for(out, count // 3, process)
    actors = [pid for pid, name in below(process.pid).items() if name.startswith("ray::_Actor")]
    done = len(reports(out))
    os.kill(actors[0], signal.SIGKILL)
    return {"actors": len(actors), "done_before": done, "exit": process.wait()}


def kill_driver(photographs: Path, out: Path, count: int) -> dict[str, Any]:
    """Kill the whole program when a third is done, and run it again."""
    shutil.rmtree(out, ignore_errors=True)
    process = begin(photographs, out, *RAY)
    wait_for(out, count // 3, process)
    children = below(process.pid)
    process.kill()
    process.wait()
    started = time.perf_counter()
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        time.sleep(0.2)
    gone_s = time.perf_counter() - started
    before = reports(out)
    code = begin(photographs, out, *RAY).wait()
    after = reports(out)
    twice = [name for name, facts in before.items() if after.get(name) != facts]
    return {"done_before": len(before), "exit": code, "children_gone_s": gone_s, "twice": twice}


def main() -> None:
    """Render, run and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photographs", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    photographs, count = chosen.folder / "photographs", chosen.photographs
    render(photographs, count)
    outs = {name: chosen.folder / name for name in ("one", "two", "ray", "actor", "driver")}
    answer: dict[str, Any] = {"photographs": count, "cores": len(os.sched_getaffinity(0))}
    answer["one_s"] = seconds(photographs, outs["one"])
    pairs = [
        (
            seconds(photographs, outs["two"], "--workers", "2"),
            seconds(photographs, outs["ray"], *RAY),
        )
        for _ in range(chosen.rounds)
    ]
    answer["workers_s"], answer["ray_s"] = (list(column) for column in zip(*pairs, strict=True))
    answer["ray_over_workers"] = statistics.median(ray / two for two, ray in pairs)
    answer["ray"] = compare(outs["ray"], outs["one"])
    answer["actor"] = kill_actor(photographs, outs["actor"], count)
    answer["actor"] |= compare(outs["actor"], outs["one"])
    answer["driver"] = kill_driver(photographs, outs["driver"], count)
    answer["driver"] |= compare(outs["driver"], outs["one"])
    (chosen.folder / "answer.json").write_text(json.dumps(answer, indent=1) + "\n")
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
