"""Where the curves and the sample predictions of a run go: TensorBoard, and on request others.

MLflow and Weights & Biases come through Lightning's loggers and the extra ``track``. Both write
into the run's folder unless their own variables say otherwise (``MLFLOW_TRACKING_URI``,
``WANDB_MODE=online``): nothing leaves the machine unasked. A run that goes on is the same there.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)

from crackseg.config import to_plain
from crackseg.names import require
from crackseg.records import Array
from crackseg.training.options import TrainOptions

PROJECT = "crackseg"
_LIGHTNING = logging.getLogger("lightning.pytorch.utilities.rank_zero")
SAMPLES = 4  # pictures of val that are shown
SHOWN_PX = 512  # side of what is shown of each
_RIGHT, _INVENTED, _MISSED = (0, 170, 80), (230, 40, 40), (40, 90, 255)  # RGB


def open_loggers(options: TrainOptions) -> list[Logger]:
    """Return the loggers of a run.

    Raises:
        MissingExtra: one that is asked for is not installed.
    """
    _LIGHTNING.addFilter(_is_no_tip)
    out = options.out
    opened: list[Logger] = [CSVLogger(out, "log"), TensorBoardLogger(out, "tensorboard", "")]
    for name in dict.fromkeys(options.loggers):
        opened.append(_OPEN[name](options))
    return opened


def _is_no_tip(record: logging.LogRecord) -> bool:
    """Leave out the library's tips to install its makers' services: of no use to a run here."""
    return "Tip:" not in record.getMessage()


def _open_mlflow(options: TrainOptions) -> Logger:
    require("mlflow", extra="track")
    before = _read(options.out / "mlflow.id")
    # its local store of files has become a data base; a server is named by the variable
    store = f"sqlite:///{(options.out / 'mlflow.db').resolve()}"
    logger = MLFlowLogger(
        experiment_name=PROJECT,
        run_name=options.name,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", store),
        artifact_location=None
        if "MLFLOW_TRACKING_URI" in os.environ
        else (options.out / "mlflow").resolve().as_uri(),
        run_id=before,
    )
    if before is None:
        logger.log_hyperparams(_flat(to_plain(options)))
        (options.out / "mlflow.id").write_text(str(logger.run_id), encoding="utf-8")
    else:  # what MLflow has logged as an option stays as it is; a run that is prolonged says so
        logger.experiment.set_tag(before, "fit.steps", str(options.fit.steps))
    return logger


def _open_wandb(options: TrainOptions) -> Logger:
    require("wandb", extra="track")
    file = options.out / "wandb.id"
    number = _read(file) or uuid.uuid4().hex[:8]
    file.write_text(number, encoding="utf-8")
    offline = os.environ.get("WANDB_MODE", "offline") == "offline"
    logger = WandbLogger(
        project=PROJECT,
        name=options.name,
        save_dir=options.out,
        id=number,
        offline=offline,
        resume=None if offline else "allow",
    )
    logger.log_hyperparams(_flat(to_plain(options)))
    return logger


_OPEN: dict[str, Callable[[TrainOptions], Logger]] = {  # those of options.LOGGERS
    "mlflow": _open_mlflow,
    "wandb": _open_wandb,
}


class ShowSamples(Callback):
    """Sends some pictures of val to the loggers after every validation, as they are marked then.

    Left the photograph with its label (blue outline), right the marks at the threshold of the
    score: green right, red invented, blue missed.
    """

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Draw and send, once the threshold of this validation is known."""
        if not trainer.is_global_zero:
            return
        level = float(trainer.callback_metrics.get("val/threshold", torch.tensor(0.5)))
        for name, (picture, label, grey) in pl_module.samples.values():
            image = draw_sample(picture, label, grey >= round(level * 255))
            for logger in trainer.loggers:
                _send(logger, f"val/{name}", image, trainer.global_step)


def sample_numbers(count: int) -> tuple[int, ...]:
    """Return which pictures of val are shown: evenly spaced."""
    return tuple(sorted({round(k) for k in np.linspace(0, count - 1, min(count, SAMPLES))}))


def window_of(label: Array) -> tuple[slice, slice]:
    """Return where a picture is shown: about the middle of its labelled crack, else its middle."""
    places = np.argwhere(label)
    middle = places[len(places) // 2] if len(places) else np.array(label.shape) // 2
    starts = [
        int(np.clip(place - SHOWN_PX // 2, 0, max(side - SHOWN_PX, 0)))
        for place, side in zip(middle, label.shape, strict=True)
    ]
    return np.s_[starts[0] : starts[0] + SHOWN_PX, starts[1] : starts[1] + SHOWN_PX]


def draw_sample(picture: Array, label: Array, marked: Array) -> Array:
    """Return (H, 2 W + 4, 3) uint8: the photograph with its label, and what is marked.

    Args:
        picture: (H, W, 3) uint8.
        label: (H, W) bool, centre line.
        marked: (H, W) bool.
    """
    near = cv2.dilate(label.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    reach = cv2.dilate(marked.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    left, right = picture.copy(), picture // 2 + 96
    left[label] = _MISSED
    right[marked & near] = _RIGHT
    right[marked & ~near] = _INVENTED
    right[label & ~reach] = _MISSED
    gap = np.full((len(picture), 4, 3), 255, np.uint8)
    return np.concatenate([left, gap, right.astype(np.uint8)], axis=1)


def _send(logger: Logger, name: str, image: Array, step: int) -> None:
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, image, step, dataformats="HWC")
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_image(logger.run_id, image, key=name.replace("/", "-"), step=step)
    elif isinstance(logger, WandbLogger):
        logger.log_image(key=name, images=[image])


def _flat(values: Any, above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value
    return flat


def _read(file: Path) -> str | None:
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None
