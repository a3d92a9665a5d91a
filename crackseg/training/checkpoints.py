"""The checkpoints of a run: the best by the score on val, and the last, wherever the folder lies.

Lightning's own forget which was best where the folder has another path than before, as on another
machine, and would take the next one for it. Here the names count, not the path.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import Callback, EarlyStopping
from safetensors.torch import save

from crackseg.errors import ConfigError
from crackseg.training.options import TrainOptions

FOLDER, LAST, BEST = "checkpoints", "last", "best"
# of a checkpoint, without which a run cannot go on, or would begin anew without a word
_PARTS = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "global_step")


class ModelCheckpoint(callbacks.ModelCheckpoint):
    """Lightning's, whose folder may move; of its name, which stands in older checkpoints."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was best, its paths brought to where the folder is now."""
        moved = dict(state_dict, dirpath=self.dirpath)
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            moved[name] = self._here(moved.get(name) or "")
        best = (moved.get("best_k_models") or {}).items()
        moved["best_k_models"] = {self._here(path): value for path, value in best}
        super().load_state_dict(moved)

    def _here(self, path: str) -> str:
        name = re.split(r"[\\/]", path)[-1]
        return str(Path(str(self.dirpath)) / name) if name else ""


class SafeCheckpointIO(TorchCheckpointIO):
    """Lightning's, that replaces a checkpoint only by one that was written to its end.

    Lightning's own goes by the folder for temporary files: from another disk the new one is copied
    over the old one, and where the run's disk is full both are lost.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint beside its place, then move it there."""
        held = io.BytesIO()
        torch.save(checkpoint, held)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _put(held.getbuffer(), Path(path))


def keep_weights(options: TrainOptions, out: Path) -> None:
    """Write the judged weights of the checkpoint to be kept beside the checkpoints' folder."""
    state = torch.load(  # noqa: TID251 - tensors and plain values only
        out / FOLDER / f"{options.fit.keep}.ckpt", map_location="cpu", weights_only=True
    )["state_dict"]
    prefix = "average.module." if options.fit.ema else "network."
    weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    write_weights(weights, out / "weights.safetensors")


def write_weights(weights: Mapping[str, Any], file: Path) -> None:
    """Write tensors as safetensors: whole, or not at all.

    Raises:
        OSError: the disk is full, or something else stands there.
    """
    # not `save_file`, whose errors are no OSError and name no file
    _put(save({name: value.contiguous() for name, value in weights.items()}), file)


def _put(data: bytes | memoryview, file: Path) -> None:
    """Write a file beside its place and move it there; an error names the file."""
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_bytes(data)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(file)) from error


def make_checkpoints(options: TrainOptions) -> list[Callback]:
    """Return the callbacks that keep the best and the last checkpoint, and stop a run early."""
    folder = options.out / FOLDER
    best = ModelCheckpoint(
        folder,
        BEST,
        monitor="val/score",
        mode="max",
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    # saved once the epoch is over: a run resumed from it starts the next epoch at its first crop
    last = ModelCheckpoint(folder, LAST, save_on_train_epoch_end=True, enable_version_counter=False)
    patience = options.fit.patience_epochs
    # looked at after validation: a resumed run ends its epoch once more, without a score
    early = {"mode": "max", "patience": patience, "check_on_train_epoch_end": False}
    stop = [EarlyStopping("val/score", **early)] if patience else []
    return [best, *stop, last]


def find_last(options: TrainOptions) -> Path | None:
    """Return the checkpoint that a run goes on from, None where it begins.

    Raises:
        ConfigError: the folder came from elsewhere without its best checkpoint, or one is damaged
            or none of a run.
    """
    folder = options.out / FOLDER
    last = folder / f"{LAST}.ckpt"
    if not last.is_file():
        return None
    if options.fit.keep == BEST and not (folder / f"{BEST}.ckpt").is_file():
        raise ConfigError(
            f"`{folder}` holds {last.name} and no {BEST}.ckpt, which the run ends with: copy the "
            'whole folder of the run, or set `fit.keep = "last"` in a new one.'
        )
    for file in sorted(folder.glob("*.ckpt")):
        if wrong := _what_is_wrong(file):
            raise ConfigError(
                f"`{file}` {wrong} ({file.stat().st_size} bytes): copy the folder of the run anew, "
                "or delete its checkpoints to begin again."
            )
    return last


def _what_is_wrong(file: Path) -> str:
    """Return why no run can go on from a checkpoint, "" where one can."""
    try:
        with zipfile.ZipFile(file) as parts:
            if parts.testzip() is not None:  # by its checksums: a changed weight is a number, too
                return "is cut or damaged"
        state = torch.load(  # noqa: TID251 - tensors and plain values only
            file, map_location="cpu", weights_only=True, mmap=True
        )
    except (zipfile.BadZipFile, EOFError, NotImplementedError):
        return "is cut or damaged"
    except (RuntimeError, ValueError, KeyError, pickle.UnpicklingError):
        return "is no checkpoint of this program"
    if not isinstance(state, dict) or (missing := [n for n in _PARTS if n not in state]):
        lacks = f", it lacks {', '.join(missing)}" if isinstance(state, dict) else ""
        return f"is no checkpoint of this program{lacks}"
    return ""
