"""Imports do nothing, analyzing never imports torch, and `--help` imports next to nothing."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import crackseg

ROOT = Path(__file__).parent.parent
ANALYSIS = ("imagery", "inference", "metrology", "exports", "pipeline", "batch", "screen", "cli")
HEAVY = {
    "numpy",
    "scipy",
    "cv2",
    "PIL",
    "onnxruntime",
    "jinja2",
    "skimage",
    "torch",
    "rich.progress",
}


def modules() -> list[str]:
    """Return every module of the package."""
    return sorted(
        module.name for module in pkgutil.walk_packages(crackseg.__path__, prefix="crackseg.")
    )


def loaded_after(names: list[str], folder: Path) -> set[str]:
    """Import modules in a process with an empty environment and folder; return what is loaded."""
    code = (
        "import importlib, json, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    environment = {"HOME": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, "an import prints"
    return set(json.loads(done.stdout))


def analysis_modules() -> list[str]:
    return [
        name
        for name in modules()
        if name.split(".")[1] in ANALYSIS
        and not name.endswith(("torch_runtime", "openvino_runtime"))
    ]


def test_analysis_imports_without_torch_and_leaves_no_file(tmp_path: Path) -> None:
    loaded = loaded_after(analysis_modules(), tmp_path)
    assert "crackseg.pipeline" in loaded
    assert not {"torch", "lightning", "segmentation_models_pytorch", "matplotlib"} & loaded
    assert list(tmp_path.iterdir()) == []  # ONNX Runtime would leave a device id for its reports


def test_every_module_imports_in_an_empty_environment(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="extra train is not installed")
    pytest.importorskip("lightning", reason="extra train is not installed")
    names = [name for name in modules() if not name.endswith("openvino_runtime")]
    assert set(names) <= loaded_after(names, tmp_path)


def test_help_imports_next_to_nothing(tmp_path: Path) -> None:
    loaded = loaded_after(["crackseg.commands"], tmp_path)
    assert not HEAVY & loaded
    alone = loaded_after(["typer"], tmp_path)
    assert len(loaded - alone) < 40  # typer is the cost of the help; the package adds little


def test_the_schema_and_templates_are_in_the_package() -> None:
    package = Path(crackseg.__file__).parent
    assert (package / "exports" / "report.schema.json").is_file()
    assert (package / "exports" / "templates" / "page.html.j2").is_file()


def test_modules_stay_small() -> None:
    sizes = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for room in ("crackseg", "service")
        for path in (ROOT / room).rglob("*.py")
    }
    assert max(sizes.values()) <= 450, max(sizes, key=lambda name: sizes[name])
