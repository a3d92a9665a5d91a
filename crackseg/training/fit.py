"""RUN.toml -> a run folder with resolved options, logs, checkpoints and the best weights.

The loop is Lightning's. What is ours: crops numbered by step (see ``dataset``), a running mean of
the weights that is what gets validated and exported, deep supervision of the skip branches, and a
validation score that also counts false alarms. A run killed at any moment continues from its last
epoch with ``crackseg train RUN.toml`` and ends with the weights of an undisturbed run.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from torch.utils.data import DataLoader

from crackseg.config import MaskOptions, read_record
from crackseg.imagery.tiles import Band, plan_axis
from crackseg.losses import deep_loss, outline_weight, seen_somehow
from crackseg.records import Array, Sample
from crackseg.training.checkpoints import (
    SafeCheckpointIO,
    find_last,
    keep_weights,
    make_checkpoints,
)
from crackseg.training.curves import plot_curves
from crackseg.training.dataset import (
    CROPS_BYTES,
    Crops,
    StepNumbers,
    WholePictures,
    read_samples,
    split_samples,
)
from crackseg.training.identity import claim_folder, describe, find_weights, refuse_data_folder
from crackseg.training.judge import LineCounts, count_levels, judge, pool
from crackseg.training.labels import CRACK, EITHER, IGNORED, LEFT_OUT, OTHER, OUTLINED, UNKNOWN
from crackseg.training.loggers import ShowSamples, open_loggers, sample_numbers, window_of
from crackseg.training.memory import gpu_of, require_room
from crackseg.training.options import FitOptions, TrainOptions
from crackseg.training.picture_store import CACHE, room_for, room_left
from crackseg.training.sharing import (
    Dealt,
    crops_of_each,
    dropout_seed,
    end_others,
    gather,
    is_out_of_memory,
    processes,
    rank,
    refuse_lost,
    split_batch,
)
from crackseg.training.start import (
    check_machine,
    require_finite,
    require_finite_weights,
    start_network,
)

WHOLE_PX, VAL_TILE_PX = 4_200_000, 1024  # larger pictures are validated in tiles of this side
LEVELS = tuple((level, level) for level in range(10, 100, 10))  # thresholds validated at, in %
Counted = dict[tuple[int, int], LineCounts]
# One decoding process is right on two cores; the tree warning is Lightning's own affair.
_QUIET = (
    ".*isinstance.treespec, LeafSpec.*",
    ".*is smaller than the logging interval.*",
    ".*does not have many workers.*",
    ".*Checkpoint directory.*exists.*",
    ".*Experiment logs directory.*exists.*",
)


def read_run(path: Path, root: Path | None = None) -> TrainOptions:
    """Return the options of a RUN.toml; its paths are relative to the file's folder.

    Args:
        path: the TOML file.
        root: folder of the pictures, in place of the file's ``data.root``.
    """
    options = read_record(TrainOptions, path)
    here = path.parent
    cache = options.data.cache
    data = replace(
        options.data,
        manifest=here / options.data.manifest,
        cache=None if cache is None else here / cache,
        root=root or (None if options.data.root is None else here / options.data.root),
    )
    arguments = dict(options.arguments)
    if isinstance(encoder := arguments.get("encoder_weights"), str) and encoder:
        arguments["encoder_weights"] = str(here / encoder)
    weights = options.initial_weights
    return replace(
        options,
        out=here / options.out,
        data=data,
        arguments=arguments,
        initial_weights=None if weights is None else find_weights(weights, here),
    )


def train(options: TrainOptions) -> Path:
    """Train one network, resuming where an earlier call stopped, and return the run folder.

    Raises:
        ConfigError: the folder holds another run, or the options do not fit network or machine.
        DataError: the manifest or a pair is broken.
        TrainingError: a loss or weight is not finite, or another process ended; checkpoints stay.
    """
    samples = read_samples(options.data)
    check_machine(options)
    crops_of_each(options)  # before a folder is claimed
    if rank(options) == 0:
        refuse_data_folder(options.out, samples)
        claim_folder(options.out, describe(options, samples), options)
    torch.set_num_threads(options.fit.threads)
    while True:
        try:
            return _fit(options, samples)
        except RuntimeError as error:  # an OutOfMemoryError is one
            refuse_lost(options, error)
            if not is_out_of_memory(error):
                raise
            options = split_batch(options, error)


def _fit(options: TrainOptions, samples: tuple[Sample, ...]) -> Path:
    data, out = options.data, options.out
    lightning.seed_everything(options.seed, verbose=False)
    module = Segmenter(options)
    last = find_last(options)
    require_room(module.network, options, gpu_of(options))
    learned = split_samples(samples, "train", data.sets)
    judged = split_samples(samples, "val", data.val_sets or data.sets)
    room = room_for(options)
    crops = Crops(learned, data, options.seed, room=room)
    pictures = WholePictures(judged, room_left(room, learned, CROPS_BYTES))
    module.showing = sample_numbers(len(pictures))
    trainer = _trainer(options)
    loader = _loader(crops, options, trainer)
    with warnings.catch_warnings():
        for message in _QUIET:
            warnings.filterwarnings("ignore", message=message)
        try:
            trainer.fit(
                module,
                loader,
                _read_whole(pictures, trainer),
                ckpt_path=None if last is None else str(last),
                weights_only=True,
            )
        except SystemExit as stop:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from stop
        except BaseException:
            end_others(trainer)
            raise
    if trainer.is_global_zero:
        keep_weights(module.options, out)
        shutil.rmtree(out / CACHE, ignore_errors=True)
    return out


def _trainer(options: TrainOptions) -> lightning.Trainer:
    fit = options.fit
    return lightning.Trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.nodes,
        precision=options.precision,
        max_epochs=-1,
        max_steps=fit.steps,
        accumulate_grad_batches=fit.accumulate,
        gradient_clip_val=fit.clip_norm or None,
        num_sanity_val_steps=0,
        log_every_n_steps=min(10, fit.steps_per_epoch),
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        callbacks=_callbacks(options),
        logger=open_loggers(options),
        plugins=[SafeCheckpointIO()],
        # a library's encoder may hold layers that its decoder does not use
        strategy="ddp_find_unused_parameters_true" if processes(options) > 1 else "auto",
        sync_batchnorm=processes(options) > 1 and gpu_of(options) is not None,
        use_distributed_sampler=False,  # the samplers share crops and pictures out themselves
    )


def _loader(crops: Crops, options: TrainOptions, trainer: lightning.Trainer) -> DataLoader[Any]:
    """Return the batches of crops, numbered by the step that the trainer has reached."""
    fit, data = options.fit, options.data
    numbers = StepNumbers(
        fit.steps_per_epoch,
        data.batch * fit.accumulate,
        lambda: trainer.global_step,
        trainer.global_rank,
        processes(options),
    )
    return DataLoader(
        crops,
        crops_of_each(options),
        sampler=numbers,
        num_workers=data.workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=data.workers > 0,
    )


def _read_whole(pictures: WholePictures, trainer: lightning.Trainer) -> DataLoader[Any]:
    mine = Dealt(len(pictures), trainer.global_rank, trainer.world_size)
    return DataLoader(pictures, batch_size=1, sampler=mine, collate_fn=_single)


class Segmenter(lightning.LightningModule):
    """A network, the running mean of its weights, and how both are trained and scored."""

    def __init__(self, options: TrainOptions) -> None:
        super().__init__()
        self.options = options
        self.network = start_network(options)
        self.network.to(memory_format=torch.channels_last)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.network,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(options.fit.ema),
            use_buffers=True,
        )
        self.average.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(options.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(options.std).view(1, 3, 1, 1))
        self.counted: dict[int, tuple[str, Counted]] = {}  # number of the picture -> set, counts
        self.showing: tuple[int, ...] = ()  # numbers of the pictures of val that loggers show
        # number -> name, and picture, label, probability
        self.samples: dict[int, tuple[str, tuple[Array, Array, Array]]] = {}

    def normalize(self, image: Any) -> Any:
        """Return (N, 3, H, W) uint8 as the network's float input."""
        x = (image.float() - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout by the step, so that a resumed run draws what an undisturbed one draws."""
        torch.manual_seed(dropout_seed(self.options, self.global_step))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Return the loss of one batch of crops."""
        loss = self.loss_of(*batch)
        require_finite("the loss", loss, self.global_step + 1, self.lr, self.options)
        self.log("loss", loss, prog_bar=True)
        return loss

    def loss_of(self, image: Any, labels: Any) -> Any:
        """Return the loss of (N, 3, h, w) pictures with (N, 1, h, w) labels, both uint8."""
        own = getattr(self.network, "loss", None)  # classifiers, Mask R-CNN: targets of their own
        x = self.normalize(image)
        if own:  # what is left out is not shown: such targets have no place to say so
            crack = ((labels == CRACK) | (labels == OUTLINED)).to(labels.dtype)
            return own(x * (labels != LEFT_OUT), crack)
        return self._pixel_loss(self.network(x), labels)

    def _pixel_loss(self, outputs: Any, labels: Any) -> Any:
        outputs = [o.float() for o in (outputs if isinstance(outputs, tuple) else (outputs,))]
        fit = self.options.fit
        valid = (labels != EITHER) & (labels != IGNORED) & (labels != LEFT_OUT)
        crack = [o[:, :1] for o in outputs]
        target, outlined = (labels == CRACK) | (labels == OUTLINED), labels == OUTLINED
        weight = valid * outline_weight(outlined, fit.outline_weight) if outlined.any() else valid
        loss = deep_loss(fit.loss, crack, target, weight, fit.branch_weight)
        if outputs[0].shape[1] == 1:
            return loss
        other = [o[:, 1:] for o in outputs]
        valid = valid & (labels != UNKNOWN)
        second = deep_loss(fit.loss, other, labels == OTHER, valid, fit.branch_weight)
        return loss + fit.other_weight * (second + seen_somehow(outputs[0], labels == EITHER))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the running mean after every optimizer step."""
        if self.options.fit.ema and (batch_idx + 1) % self.options.fit.accumulate == 0:
            self.average.update_parameters(self.network)

    @property
    def judged(self) -> Any:
        """The weights that are validated and exported."""
        return self.average.module if self.options.fit.ema else self.network

    @property
    def lr(self) -> float:
        """The rate of the optimizer's last group."""
        rate: float = self.optimizers().param_groups[-1]["lr"]
        return rate

    def on_validation_start(self) -> None:
        """Stop before weights that are not finite are scored, and kept as a checkpoint."""
        require_finite_weights(self, self.global_step, self.lr, self.options)

    def on_validation_model_eval(self) -> None:
        """Switch batch norm and dropout to inference."""
        self.eval()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Count the centre lines of one whole picture at all thresholds."""
        image, number, source = batch
        pictures = self.trainer.val_dataloaders.dataset
        grey, truth = self.predict_grey(image), pictures.truth(number)
        self.counted[number] = source, count_levels(grey, truth, LEVELS, MaskOptions())
        if number in self.showing:
            window = window_of(truth.line)
            name = f"{source}/{pictures.samples[number].image.stem}"
            picture, line = np.array(truth.picture[window]), np.array(truth.line[window])
            self.samples[number] = name, (picture, line, grey[window].copy())

    def predict_grey(self, image: Any) -> Array:
        """Return the (H, W) uint8 probability of one (1, 3, H, W) uint8 picture.

        One of more than ``WHOLE_PX`` is read in tiles that overlap: at once it would fill a memory.
        """
        height, width = image.shape[-2:]
        if height * width <= WHOLE_PX:
            return np.round(self._probability(image) * 255).astype(np.uint8)
        rows, cols = (
            plan_axis(side, tile_px=VAL_TILE_PX, overlap_px=128, multiple=1)
            for side in (height, width)
        )
        grey = np.zeros((height, width), np.uint8)

        def take(row: int, done: Array) -> None:
            grey[row : row + len(done)] = done

        band = Band(rows, cols, height_px=height, width_px=width, emit=take)
        for i, row in enumerate(rows.starts):
            for j, col in enumerate(cols.starts):
                tile = image[..., row : row + VAL_TILE_PX, col : col + VAL_TILE_PX]
                band.add(i, j, self._probability(tile))
            band.finish(i)
        return grey

    def _probability(self, image: Any) -> Array:
        multiple = getattr(self.judged, "multiple", 32)
        height, width = image.shape[-2:]
        pads = (0, -width % multiple, 0, -height % multiple)
        image = torch.nn.functional.pad(image.float(), pads, mode="replicate")
        probability = torch.sigmoid(self.judged(self.normalize(image)).float())
        require_finite("a probability", probability, self.global_step, self.lr, self.options)
        values: Array = probability[0, 0, :height, :width].cpu().numpy()
        return values

    def on_validation_epoch_end(self) -> None:
        """Log centre-line F1 of each set at the best common threshold, alarms, and the score."""
        of_sets: dict[str, list[Counted]] = defaultdict(list)
        for source, counts in gather(self.counted).values():
            of_sets[source].append(counts)
        scores, self.samples = score(of_sets), gather(self.samples)
        self.counted.clear()
        self.log_dict(scores, sync_dist=True)
        text = "  ".join(f"{key.removeprefix('val/')} {value:.3f}" for key, value in scores.items())
        self.print(f"step {self.global_step}  lr {self.lr:.1e}  {text}", flush=True)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule per step."""
        fit = self.options.fit
        encoder = {id(p) for p in getattr(self.network, "encoder", torch.nn.Module()).parameters()}
        rest = [p for p in self.network.parameters() if id(p) not in encoder]
        groups = [{"params": rest, "lr": fit.lr}]
        if encoder:
            slow = [p for p in self.network.parameters() if id(p) in encoder]
            groups.insert(0, {"params": slow, "lr": fit.lr * fit.encoder_lr_ratio})
        kinds: dict[str, Any] = {  # those of options.OPTIMIZERS
            "adamw": lambda: torch.optim.AdamW(groups, weight_decay=fit.weight_decay),
            "adam": lambda: torch.optim.Adam(groups),
            "sgd": lambda: torch.optim.SGD(groups, momentum=0.9, weight_decay=fit.weight_decay),
        }
        optimizer = kinds[fit.optimizer]()
        factor = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: lr_factor(s, fit))
        return [optimizer], [{"scheduler": factor, "interval": "step"}]


def lr_factor(step: int, fit: FitOptions) -> float:
    """Return what the learning rate is multiplied by at ``step``.

    ``paper`` takes the three rates 1e-4, 1e-5, 1e-6 of Feng et al. 2020 in equal thirds (set
    ``lr`` to 1e-4). ``wsd`` holds the rate and lets it fall to zero in the last ``decay_share``,
    so a run can be prolonged from a checkpoint of its steady part.
    """
    warm = min(1.0, (step + 1) / max(fit.warmup_steps, 1))
    share = min(step / fit.steps, 1.0)
    if fit.schedule == "constant":
        return warm
    if fit.schedule == "cosine":
        return warm * 0.5 * (1 + float(np.cos(np.pi * share)))
    if fit.schedule == "paper":
        return float(10.0 ** -min(int(share * 3), 2))
    rest = (1 - share) / max(fit.decay_share, 1e-9)  # wsd
    return warm * min(1.0, rest)


def score(counted: Mapping[str, list[Counted]]) -> dict[str, float]:
    """Return the judge's score at the one threshold that serves it best, and what it is made of.

    Args:
        counted: set -> what every picture gives at each of ``LEVELS``.
    """
    at = {
        level: {name: [each[level] for each in of_set] for name, of_set in counted.items()}
        for level in LEVELS
    }
    best = max(LEVELS, key=lambda level: judge(at[level]))
    of_sets = {name: pool(of_set) for name, of_set in sorted(at[best].items())}
    free = sum(each.free for each in of_sets.values())
    scores = {f"val/f1_{n}": c.f1 for n, c in of_sets.items() if sum(c.labelled_px)}
    if free:
        scores["val/listed"] = sum(each.listed for each in of_sets.values()) / free
    return scores | {"val/threshold": best[1] / 100, "val/score": judge(at[best])}


def _callbacks(options: TrainOptions) -> list[Callback]:
    rate = LearningRateMonitor("step")
    return [*make_checkpoints(options), rate, ShowSamples(), DrawCurves(options.out)]


class DrawCurves(Callback):
    """Draws the curves anew after every epoch."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Write what is logged so far, then draw it."""
        if trainer.is_global_zero:
            trainer.logger.save()
            plot_curves(self.out)


def _single(batch: list[Any]) -> Any:
    return batch[0][0][None], *batch[0][1:]  # image, number, source
