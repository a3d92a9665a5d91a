"""Sets of one's own -> the run file and the manifest of a first training, with reasons in them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import crackseg
from crackseg.errors import ConfigError, DataError
from crackseg.imagery.masks import read_mask
from crackseg.inference.models import default_model, read_card, shipped_models
from crackseg.records import Sample
from crackseg.training.manifest import HOLD_OUT, index_folder, read_manifest, write_manifest

TEMPLATE = Path(crackseg.__file__).with_name("run_template.toml")
STEPS, EPOCH = 1500, 250


def init_run(file: Path, data: Path, *, hold_out: float = HOLD_OUT) -> list[str]:
    """Write a run file and the manifest it names; return what to say of them, line by line.

    Args:
        file: RUN.toml to write; the manifest lies beside it, RUN.csv.
        data: a folder of sets, a set, or a manifest, which stays as it is.
        hold_out: share of train that becomes val in sets without a val list.

    Raises:
        ConfigError: one of the files is there, or ``file`` is no TOML.
        DataError: a pair is broken, or there is nothing to learn from or to judge by.
    """
    if file.suffix != ".toml":
        raise ConfigError(f"`{file}` must end in .toml; with `--init` it is written.")
    manifest = data if data.is_file() else file.with_suffix(".csv")
    for path in {file, file.with_suffix(".csv") if manifest != data else file}:
        if os.path.lexists(path):
            raise ConfigError(f"`{path}` is there already; edit it, or choose another name.")
    samples = read_manifest(data) if manifest == data else index_folder(data, hold_out=hold_out)
    counts = Counter((sample.source, sample.split) for sample in samples)
    _require_both({split for _, split in counts}, data)
    file.parent.mkdir(parents=True, exist_ok=True)
    if manifest != data:
        write_manifest(samples, manifest)
    card = read_card(shipped_models()[default_model()])
    arguments = ", ".join(f"{key} = {json.dumps(v)}" for key, v in card.network_arguments.items())
    text = TEMPLATE.read_text(encoding="utf-8").format(
        name=file.stem,
        network=card.network,
        arguments=arguments,
        manifest=Path(os.path.relpath(manifest.resolve(), file.parent.resolve())).as_posix(),
        held_out=round(100 * hold_out),
        steps=STEPS,
        epoch=EPOCH,
    )
    with file.open("x", encoding="utf-8") as stream:
        stream.write(text)
    lines = [f"{name:20} {split:10} {n:6}" for (name, split), n in sorted(counts.items())]
    return [*lines, *_doubts(samples), f"wrote {file} and {manifest}: look through, then train"]


def _require_both(splits: set[str], data: Path) -> None:
    if "train" not in splits:
        raise DataError(f"`{data}` has no picture of split train; list stems in train.txt.")
    if "val" not in splits:
        raise DataError(
            f"`{data}` has no picture of split val, by which weights and thresholds are chosen; "
            "give `--hold-out 0.2`, list stems in val.txt, or bring pictures of another site: one "
            "site stays on one side."
        )


def _doubts(samples: Sequence[Sample]) -> Iterator[str]:
    """Yield what a person should look at before a training."""
    unstated = sorted({s.source for s in samples if s.licence == "unstated"})
    if unstated:
        yield (
            f"no licence is stated for {', '.join(unstated)}, and the model's card will say so: "
            "`crackseg data import --licence`, or origin.json in the set."
        )
    for split in ("train", "val"):
        cracked = [bool(read_mask(s.mask).pixels.any()) for s in samples if s.split == split]
        if not any(cracked):
            yield f"no picture of {split} shows a crack: there is nothing to find."
        elif all(cracked):
            yield (
                f"every picture of {split} shows a crack: add some of sound wall, or false alarms "
                "there are not learned from, or not counted."
            )
