"""run.json: what the result of a run depends on, and whose weights and pictures it learned from.

A folder belongs to the run whose checkpoints it holds; a start that failed before the first one
blocks nothing. A run goes on in its folder when all that its result depends on is as before: not
the number of threads, not where the folders are mounted. What differs is named, old and new.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from crackseg import __version__
from crackseg.config import to_plain
from crackseg.errors import ConfigError, ModelError
from crackseg.folders import sha256_of
from crackseg.inference.models import SAFETENSORS, default_model, read_card, shipped_models
from crackseg.inference.weights import weights_file
from crackseg.processors import processor_name
from crackseg.records import Sample
from crackseg.training.areas import areas_file
from crackseg.training.curves import CURVES
from crackseg.training.options import TrainOptions, differences

RUN = "run.json"
PACKAGES = (  # that a training goes through
    "torch",
    "lightning",
    "torchvision",
    "segmentation-models-pytorch",
    "timm",
    "numpy",
    "scipy",
    "scikit-image",
    "opencv-python-headless",
    "pillow",
    "safetensors",
    "onnx",
)
_OF_START = ("started_at", "commit", "versions", "device")  # of each start of a run
_OURS = (
    "checkpoints",
    "log",
    "tensorboard",
    "cache",
    "mlflow",
    "mlflow.db",
    "mlflow.id",
    "wandb",
    "wandb.id",
    CURVES,
    SAFETENSORS,
)  # what a run writes beside run.json


def find_weights(name: Path, here: Path) -> Path:
    """Return the weights that a run starts from.

    Args:
        name: a file of weights, a model or run folder, or the name of a shipped model.
        here: folder that a path is relative to.
    """
    path = here / name
    shipped = shipped_models()
    if not path.exists() and str(name) in {"default", *shipped}:
        path = shipped[default_model() if str(name) == "default" else str(name)]
    return weights_file(path) if path.is_dir() else path


def describe(options: TrainOptions, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return what run.json is to hold.

    Raises:
        ConfigError: the weights to start from are missing, or expect another normalisation.
    """
    digest = sha256()
    for sample in samples:
        digest.update(f"{sample.split} {sample.image_sha256} {sample.mask_sha256}".encode())
        if areas_file(sample).is_file():
            digest.update(sha256_of(areas_file(sample)).encode())
    parent, inherited = _parent(options)
    return {
        "options": json.loads(json.dumps(to_plain(options))),
        "data_sha256": digest.hexdigest(),
        "data": [*_data_used(samples, options.data.sets), *inherited],
        "started_from": parent,
        **machine(),
    }


def machine() -> dict[str, Any]:
    """Return what a run's last bits depend on beside its options: code, packages, device."""
    return {
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(Path(__file__).parent),
        "versions": {
            "crackseg": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES if _is_installed(name)},
        },
        "device": {
            "processor": processor_name(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        },
    }


def _commit(folder: Path) -> str | None:
    """Return the git commit of the code, with `+` where files were changed since; None outside."""
    git = ["git", "-C", str(folder), "-c", "safe.directory=*"]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "--", str(folder.parent)],
            capture_output=True, text=True, check=True, timeout=20,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+" if changed else head


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def refuse_data_folder(out: Path, samples: Sequence[Sample]) -> None:
    """Raise where a new run would be written among the pictures that it learns from.

    Raises:
        ConfigError: names a picture in the folder.
    """
    first = {folder: s for s in samples for folder in (s.image.parent, s.mask.parent)}
    for folder, sample in first.items():
        place = folder.resolve()
        if not (out / RUN).exists() and out.resolve() in (place, *place.parents):
            raise ConfigError(
                f"`out` {out} is a folder of the data: `{sample.image}` and its mask are to learn "
                "from. Choose a folder of its own for the run, such as `runs/NAME`."
            )


def claim_folder(out: Path, identity: Mapping[str, Any], options: TrainOptions) -> None:
    """Write run.json into the folder of a run that is new or goes on.

    Raises:
        ConfigError: the folder holds another run, or files that no run wrote.
    """
    file = out / RUN
    if not file.exists():
        foreign = [name for name in _OURS if (out / name).exists()]
        if foreign:
            raise ConfigError(
                f"`out` {out} holds {foreign[0]} and no {RUN}, so that it is not the folder of a "
                "run; choose another."
            )
    elif any((out / "checkpoints").glob("*.ckpt")) or (out / SAFETENSORS).exists():
        before = _read_identity(file)
        _refuse_other(out, before, identity, options)
        earlier = [*before.get("earlier_starts", []), {key: before.get(key) for key in _OF_START}]
        identity = {**identity, "earlier_starts": earlier}
    else:
        _read_identity(file)
        for name in ("log", "tensorboard"):  # of a start that failed
            shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{RUN}.part")
    part.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
    part.replace(file)


def _read_identity(file: Path) -> dict[str, Any]:
    try:
        before: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        before["options"]["fit"], before["data_sha256"]
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"`{file}` does not say which run its folder holds ({error}); copy the folder anew, or "
            "choose another `out`."
        ) from error
    return before


def _refuse_other(
    out: Path, before: Mapping[str, Any], identity: Mapping[str, Any], options: TrainOptions
) -> None:
    """Raise where a folder's run differs in what its result depends on."""
    stored = dict(before["options"])
    stored["fit"] = {**stored["fit"], "steps": options.fit.steps}  # a run may be prolonged
    other = [f"`{name}` was {old}, is {new}" for name, (old, new) in differences(stored, options)]
    first = (before.get("started_from") or {}).get("sha256")
    if "started_from" in before and first != (identity["started_from"] or {}).get("sha256"):
        other.append("`initial_weights` are others")
    what = ["options"] if other else []
    if before["data_sha256"] != identity["data_sha256"]:
        what.append("data")
        other.append("the manifest names other pictures, masks or splits")
    if what:
        raise ConfigError(
            f"`out` {out} holds a run with other {' and '.join(what)}: {'; '.join(other)}. Choose "
            "another folder, or delete this one."
        )


def _parent(options: TrainOptions) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Return name, version and digest of the weights a run starts from, and what they learned from.

    Their licences go on: a model inherits the terms of all pictures that shaped it.
    """
    weights = options.initial_weights
    if weights is None:
        return None, []
    if not weights.is_file():
        raise ConfigError(
            f"`initial_weights` must be a file of weights, a model folder or a shipped model "
            f"({', '.join(shipped_models())}), got `{weights}`; there is none."
        )
    parent = {"name": weights.name, "version": "", "sha256": sha256_of(weights)}
    unknown = [{"name": f"all that {weights.name} learned from", "licence": "unknown"}]
    rows: Sequence[Mapping[str, Any]] = unknown
    folder = weights.parent
    if (folder / RUN).is_file():
        before = json.loads((folder / RUN).read_text(encoding="utf-8"))
        parent |= {"name": before["options"]["name"], "version": "not exported"}
        rows = before["data"]
        _check_normalisation(options, before["options"]["mean"], before["options"]["std"])
    elif (folder / "card.json").is_file():
        try:
            card = read_card(folder)
        except ModelError as error:
            raise ConfigError(f"`initial_weights`: {error}") from error
        parent |= {"name": card.name, "version": card.version}
        rows = card.data
        _check_normalisation(options, card.mean, card.std)
    return parent, [{"through": parent, **row} for row in rows]


def _check_normalisation(
    options: TrainOptions, mean: Sequence[float], std: Sequence[float]
) -> None:
    if list(mean) != list(options.mean) or list(std) != list(options.std):
        raise ConfigError(
            f"`mean` and `std` must be those of `initial_weights`, {list(mean)} and {list(std)}, "
            f"got {list(options.mean)} and {list(options.std)}."
        )


def _data_used(samples: Sequence[Sample], sets: Sequence[str]) -> list[dict[str, Any]]:
    """Return name, licence and number of training pictures of every set a run draws from."""
    used: dict[str, dict[str, Any]] = {}
    for sample in samples:
        if sample.split == "train" and (not sets or sample.source in sets):
            row = {"name": sample.source, "licence": sample.licence, "pictures": 0}
            used.setdefault(sample.source, row)["pictures"] += 1
    return list(used.values())
