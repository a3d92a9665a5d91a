"""The checkpoints of a run: the best by the score on val, and the last, wherever the folder lies.

Lightning's own forget which was best where the folder has another path than before, as on another
machine, and would take the next one for it. Here the names count, not the path.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import Callback, EarlyStopping

from crackseg.errors import ConfigError
from crackseg.training.options import TrainOptions

FOLDER, LAST, BEST = "checkpoints", "last", "best"


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
        ConfigError: the folder came from elsewhere without its best checkpoint, or one was cut.
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
        if not zipfile.is_zipfile(file):  # its directory is at its end
            raise ConfigError(
                f"`{file}` is cut or damaged ({file.stat().st_size} bytes): copy the folder of the "
                "run anew, or delete its checkpoints to begin again."
            )
    return last
