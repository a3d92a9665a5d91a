"""Protocols of others are mappings in one file each: without it the service does all the rest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATHS = """
import json, pathlib, sys
import service
from service.app import create_app
from service.settings import Settings
assert pathlib.Path(service.__file__).parent == pathlib.Path(sys.argv[1], "service")
app = create_app(Settings(data=pathlib.Path(sys.argv[1], "data")))
print(json.dumps(sorted(app.openapi()["paths"])))
"""


@pytest.mark.parametrize(("module", "prefix"), [("ogc", "/v1/ogc"), ("tus", "/v1/uploads")])
def test_a_mapping_that_is_deleted_is_missed_by_nothing_else(
    module: str, prefix: str, tmp_path: Path
) -> None:
    def paths(*without: str) -> set[str]:
        folder = tmp_path / "-".join(["without", *without])
        left_out = shutil.ignore_patterns("__pycache__", *(f"{name}.py" for name in without))
        shutil.copytree(ROOT / "service", folder / "service", ignore=left_out)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
        ran = subprocess.run(
            [sys.executable, "-c", PATHS, folder],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return set(json.loads(ran.stdout))

    gone = paths() - paths(module)
    assert gone
    assert all(path.startswith(prefix) for path in gone)
