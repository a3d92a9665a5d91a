"""Ask whether a cluster loses anything: ``cluster.py FOLDER [--photographs N] [--rounds N]``.

With ``--raster FILE`` the same is asked of one large raster, whose bands the actors read: one
process, two actors, an actor killed over a band, the program killed when half is kept.

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

from crackseg.folders import MARK, holds_keys, refuse_unless, require_new
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


def remove(out: Path) -> None:
    """Remove the results of an earlier round; a folder of somebody else is none."""
    if out.exists() and not any(out.glob(f"*/{MARK}")):
        require_new(out)
    shutil.rmtree(out, ignore_errors=True)


def seconds(photographs: Path, out: Path, *options: str) -> float:
    """Return the seconds of an analysis into a new folder."""
    remove(out)
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
    remove(out)
    process = begin(photographs, out, *RAY)
    wait_for(out, count // 3, process)
    actors = [pid for pid, name in below(process.pid).items() if name.startswith("ray::_Actor")]
    done = len(reports(out))
    os.kill(actors[0], signal.SIGKILL)
    return {"actors": len(actors), "done_before": done, "exit": process.wait()}


def kill_driver(photographs: Path, out: Path, count: int) -> dict[str, Any]:
    """Kill the whole program when a third is done, and run it again."""
    remove(out)
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


def kept_rows(out: Path) -> int:
    """Return how many rows of a raster a run has kept to go on from."""
    for note in out.glob(".crackseg-part-*/progress.json"):
        bands = json.loads(note.read_text(encoding="utf-8"))["bands"]
        return int(bands[-1]["row"] + bands[-1]["rows"])
    return 0


def stop_at(raster: Path, out: Path, rows: int, *, actor: bool) -> dict[str, Any]:
    """Kill an actor or the whole program when so many rows are kept, and come to the end."""
    remove(out)
    process = begin(raster, out, *RAY)
    while kept_rows(out) < rows and process.poll() is None:
        time.sleep(0.5)
    children = below(process.pid)
    actors = [pid for pid, name in children.items() if name.startswith("ray::_Actor")]
    os.kill(actors[0] if actor else process.pid, signal.SIGKILL)
    code = process.wait()
    answer: dict[str, Any] = {"actors": len(actors), "exit": code, "kept_rows": kept_rows(out)}
    if not actor:
        while any(Path(f"/proc/{pid}").exists() for pid in children):
            time.sleep(0.2)
        again = begin(raster, out, *RAY)
        least = answer["kept_rows"]
        while again.poll() is None:
            now = kept_rows(out)
            least = min(least, now) if now else least
            time.sleep(0.5)
        answer |= {"exit": again.returncode, "rows_kept_least": least}
    return answer


def ask_raster(raster: Path, folder: Path) -> dict[str, Any]:
    """Run over one raster in all ways, and compare."""
    outs = {name: folder / name for name in ("one", "ray", "actor", "driver")}
    answer: dict[str, Any] = {"raster": raster.name, "one_s": seconds(raster, outs["one"])}
    report = json.loads(next(outs["one"].glob("*/report.json")).read_text(encoding="utf-8"))
    answer["stages_s"] = report["timing_s"]
    rows = report["image"]["height_px"]
    answer["ray_s"] = seconds(raster, outs["ray"], *RAY)
    answer["actor"] = stop_at(raster, outs["actor"], rows // 5, actor=True)
    answer["driver"] = stop_at(raster, outs["driver"], rows // 2, actor=False)
    reports = {name: next(out.glob("*/report.json")) for name, out in outs.items()}
    for name in ("ray", "actor", "driver"):
        here, there = content(outs[name]), content(outs["one"])
        timing = json.loads(reports[name].read_text(encoding="utf-8"))["timing_s"]
        answer[f"{name}_files"] = {
            "files": len(there),
            "lost": sorted(set(there) - set(here)),
            "differ": sorted(file for file in there if here.get(file) != there[file]),
            "forward_s": timing["forward"],
        }
    return answer


def main() -> None:
    """Render, run and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photographs", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--raster", type=Path)
    chosen = parser.parse_args()
    raster, answers = chosen.folder / "raster.json", chosen.folder / "answer.json"
    for file in (raster, answers):
        refuse_unless(file, holds_keys("one_s"), "answer of this study")
    if chosen.raster:
        answer = ask_raster(chosen.raster, chosen.folder)
        raster.write_text(json.dumps(answer, indent=1) + "\n")
        print(json.dumps(answer, indent=1))
        return
    photographs, count = chosen.folder / "photographs", chosen.photographs
    render(photographs, count)
    outs = {name: chosen.folder / name for name in ("one", "two", "ray", "actor", "driver")}
    answer = {"photographs": count, "cores": len(os.sched_getaffinity(0))}
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
    answers.write_text(json.dumps(answer, indent=1) + "\n")
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
