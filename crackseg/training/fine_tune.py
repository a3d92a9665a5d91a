"""``crackseg fine-tune``: a model learns what one site's inspectors said, and keeps the rest.

What learns is a second decoder on the parent's encoder, for pictures that look like the site; for
all others the model answers as its parent (see ``cdds_site``). Photographs held out say by which
thresholds it is read and whether it is better at all: what is worse than its parent is not
written. What is finished in the folder of the work is not done again, so that a run that was
stopped goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from crackseg import __version__
from crackseg.config import to_plain
from crackseg.errors import ConfigError
from crackseg.folders import lock, sha256_of
from crackseg.inference.models import find_folder, read_card, write_card
from crackseg.names import count
from crackseg.networks import build
from crackseg.records import ModelCard, Sample
from crackseg.training.areas import areas_file
from crackseg.training.augment import AugmentOptions
from crackseg.training.checkpoints import write_weights
from crackseg.training.evaluate import (
    EvaluateOptions,
    load_samples,
    score_pictures,
    tally_thresholds,
)
from crackseg.training.export_onnx import (
    ExportOptions,
    export_run,
    files_of_earlier,
    taking_place_of,
)
from crackseg.training.fine_tune_scores import (
    CHECK,
    DRAWN,
    NEAR,
    OWN,
    WALLS,
    as_loss,
    as_table,
    require_no_worse,
)
from crackseg.training.identity import RUN, describe, find_weights
from crackseg.training.judge import LineCounts, judge, pool
from crackseg.training.manifest import index_folder
from crackseg.training.options import DataOptions, FitOptions, TrainOptions
from crackseg.training.own_pictures import Own, cut_own, draw_on_held_out, part_photographs
from crackseg.training.rendered import LICENCE, NAME, write_rendered
from crackseg.training.site_gate import fit_gate
from crackseg.training.site_loop import Sources, learn_verdicts, normalize
from crackseg.training.start import start_network

Say = Callable[[str], None]
NETWORK, PARENT = "cdds_site", "cdds_lite"
RENDERED_VAL = 24
WORK = "fine_tune.json"  # what the work in a folder is of
_STEPS_PERCENT = (-10, -5, 0, 5)  # thresholds tried, from the parent's


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuneOptions:
    """What is learned from and how long."""

    data: Path  # a set, a folder of sets or a manifest
    out: Path  # model folder to write
    name: str
    version: str = "1"
    parent: str = "default"
    root: Path | None = None  # folder that a manifest's paths are relative to
    work: Path | None = None  # what a stopped run goes on from; None: beside ``out``
    check: Path | None = None  # sets with val lists: what must not be forgotten
    steps: int = 120
    hold_out: float = 0.25
    rendered: int = 96
    crop_px: int = 256
    batch: int = 6
    lr: float = 1e-3
    threads: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.hold_out < 1:
            raise ConfigError(f"`hold_out` must be a share in (0, 1), got {self.hold_out}.")
        if self.steps < 1 or self.rendered < 1:
            raise ConfigError(
                f"`steps` and `rendered` must be at least 1, got {self.steps} and {self.rendered}."
            )

    @property
    def folder(self) -> Path:
        """Where the work lies until it is done."""
        return self.work or self.out.with_name(f"{self.out.name}.work")


def fine_tune(options: FineTuneOptions, say: Say) -> ModelCard:
    """Write the model folder ``out`` and return its card.

    Args:
        options: what to learn from.
        say: called with each line that a user should read.

    Raises:
        ConfigError: ``out`` or the folder of the work holds something else, or the parent cannot
            be trained on, or the same work is being done already.
        DataError: the data is broken, or too little is decided on it.
    """
    parent = _require_parent(options)
    own = part_photographs(options.data, options.root, options.hold_out)
    checked = load_samples(options.check, split="val") if options.check else ()
    _claim(options, own, parent)
    with (options.folder / WORK).open(encoding="utf-8") as stream:
        if not lock(stream):
            raise ConfigError(
                f"`{options.folder}` is being worked in by another run of this command; wait for "
                "its end."
            )
        return _fine_tune(options, own, parent, checked, say)


def _fine_tune(
    options: FineTuneOptions,
    own: Own,
    parent: ModelCard,
    checked: Sequence[Sample],
    say: Say,
) -> ModelCard:
    """Do what is not done yet of the work in the folder, and remove it at the end."""
    say(
        f"{count(len(own.train), 'photograph')} to learn from, {len(own.held_out)} held out; from "
        f"{parent.name} {parent.version}"
    )
    tiles = _prepare(options, own, say)
    walls = _walls(options)
    drawn = draw_on_held_out(own, options.folder / DRAWN)
    judged = {OWN: own.held_out, DRAWN: drawn, WALLS: _of(walls, "val"), CHECK: checked}
    before = _judge_once(options, "before", options.parent, judged, say)
    run = _learn(options, own, tiles, _of(walls, "train"), parent, say)
    model = options.folder / "model"
    card = export_run(run, model, _export_options(options, parent))
    card = _choose(own, judged[WALLS], model, card, parent, say)
    after = _judge_once(options, "after", str(model), judged, say)
    card = _write_facts(model, card, own, parent, {"before": before, "after": after})
    for line in as_table(before, after):
        say(line)
    require_no_worse(before, after)
    if lost := as_loss(before, after):
        say(lost)
    _put(model, card, options.out)
    shutil.rmtree(options.folder)
    return card


def _require_parent(options: FineTuneOptions) -> ModelCard:
    card = read_card(find_folder(options.parent))
    if card.network != PARENT:
        raise ConfigError(
            f"`--parent` must be a model of the network `{PARENT}`, as the shipped ones are, got "
            f"{card.name}, a `{card.network}`; a model of a site learns more where its parent is "
            "fine-tuned again with all photographs."
        )
    files_of_earlier(options.out, options.name, options.version)  # refused before the work
    return card


def _claim(options: FineTuneOptions, own: Own, parent: ModelCard) -> None:
    """Write what the work is of, or refuse a folder whose work is of something else."""
    digest = sha256()
    for sample in own.every:
        digest.update(f"{sample.split} {sha256_of(sample.image)} {sha256_of(sample.mask)}".encode())
        if areas_file(sample).is_file():
            digest.update(sha256_of(areas_file(sample)).encode())
    plain = to_plain(replace(options, out=Path(options.out.name), work=None, threads=1))
    identity = {
        "crackseg": __version__,
        "options": plain,
        "data": digest.hexdigest(),
        "parent": dict(parent.sha256),
    }
    text = json.dumps(identity, indent=1, sort_keys=True)
    file = options.folder / WORK
    if options.folder.exists() and any(options.folder.iterdir()):
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"`{options.folder}` holds the work of another fine-tuning, with other data or "
                "options or by another release; delete it, or give another `--work`."
            )
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _prepare(options: FineTuneOptions, own: Own, say: Say) -> tuple[Sample, ...]:
    """Write what the crops are drawn from, once; return the tiles of the site's photographs."""
    folder = options.folder / "data"
    if not (folder / NAME / "val.txt").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        say(f"cutting tiles and rendering {count(options.rendered + RENDERED_VAL, 'photograph')}")
        write_rendered(folder / NAME, options.rendered, RENDERED_VAL)
    return cut_own(own, folder / "own")


def _walls(options: FineTuneOptions) -> tuple[Sample, ...]:
    folder = options.folder / "data" / NAME
    return index_folder(folder, licences={NAME: LICENCE}, hashes=False)


def _of(samples: Sequence[Sample], split: str) -> tuple[Sample, ...]:
    return tuple(sample for sample in samples if sample.split == split)


def _learn(
    options: FineTuneOptions,
    own: Own,
    tiles: Sequence[Sample],
    walls: Sequence[Sample],
    parent: ModelCard,
    say: Say,
) -> Path:
    """Return the folder of a finished run: gate and decoder of the site, and what they are of."""
    run = _run(options, parent)
    if (run.out / RUN).is_file():
        return run.out
    run.out.mkdir(exist_ok=True)
    started = start_network(replace(run, network=PARENT, arguments=parent.network_arguments))
    network = build(NETWORK, **run.arguments)
    network.parent.load_state_dict(started.state_dict())
    network.site.load_state_dict(
        {k: v for k, v in started.state_dict().items() if not k.startswith("encoder.")}
    )
    say(f"learning {options.steps} steps, which takes minutes")
    learn_verdicts(network, Sources(site=tiles, walls=walls), run, say)
    fit_gate(network, own.train, own.held_out, parent.tile_px, partial(normalize, options=run))
    write_weights(network.state_dict(), run.out / "weights.safetensors")
    text = json.dumps(describe(run, [*own.train, *walls]), indent=1)
    (run.out / RUN).write_text(text, encoding="utf-8")
    return run.out


def _run(options: FineTuneOptions, parent: ModelCard) -> TrainOptions:
    return TrainOptions(
        name=options.name,
        out=options.folder / "run",
        network=NETWORK,
        arguments={"base": dict(parent.network_arguments)},
        initial_weights=find_weights(find_folder(options.parent), Path()),
        mean=parent.mean,
        std=parent.std,
        data=DataOptions(
            manifest=options.data,
            crop_px=options.crop_px,
            batch=options.batch,
            augment=AugmentOptions(),
        ),
        fit=FitOptions(
            steps=options.steps,
            steps_per_epoch=options.steps,
            lr=options.lr,
            threads=options.threads,
        ),
    )


def _export_options(options: FineTuneOptions, parent: ModelCard) -> ExportOptions:
    return ExportOptions(
        name=options.name,
        version=options.version,
        threshold=parent.threshold,
        threshold_low=parent.threshold_low,
        tile_px=parent.tile_px,
    )


def _choose(
    own: Own,
    walls: Sequence[Sample],
    model: Path,
    card: ModelCard,
    parent: ModelCard,
    say: Say,
) -> ModelCard:
    """Choose both thresholds on what no crop was drawn from, and write them into the card."""
    samples = [*own.held_out, *walls]
    low, high = round(100 * parent.threshold_low), round(100 * parent.threshold)
    levels = sorted(
        {
            (max(low + down, 5), max(min(high + up, 99), low + down, 5))
            for down in _STEPS_PERCENT
            for up in _STEPS_PERCENT
        }
        | {(low, high)}
    )
    say(f"choosing thresholds on {count(len(samples), 'photograph')}")
    options = EvaluateOptions(model=str(model), split="val")
    tally = tally_thresholds(samples, options, levels=levels)
    low, high = best_near(tally, (low, high))
    choice = {"threshold": high / 100, "threshold_low": low / 100, "pictures": len(samples)}
    scores = {**card.scores, "choice": {**choice, "value": judge(_but_walls(tally[low, high]))}}
    card = replace(card, threshold=high / 100, threshold_low=low / 100, scores=scores)
    return write_card(model, card)


def best_near(
    tally: Mapping[tuple[int, int], Mapping[str, Sequence[LineCounts]]], start: tuple[int, int]
) -> tuple[int, int]:
    """Return the pair that serves the site's photographs best, or where it starts for next to none.

    Pictures of elsewhere are read by the same pair, so that rendered walls may not lose by it.

    Args:
        tally: pair of lower and upper threshold, in % -> set -> counts of its pictures.
        start: the parent's pair.
    """
    least = judge({NAME: tally[start][NAME]}) - NEAR
    allowed = [pair for pair in tally if judge({NAME: tally[pair][NAME]}) >= least]
    values = {pair: judge(_but_walls(tally[pair])) for pair in allowed}
    best = max(allowed, key=lambda pair: (values[pair], pair))
    return best if values[best] > values[start] + NEAR else start


def _but_walls(counts: Mapping[str, Sequence[LineCounts]]) -> dict[str, Sequence[LineCounts]]:
    return {name: of for name, of in counts.items() if name != NAME}


def _judge_once(
    options: FineTuneOptions,
    when: str,
    model: str,
    judged: Mapping[str, Sequence[Sample]],
    say: Say,
) -> dict[str, Any]:
    """Return what the judge says of a model, read again where it was said before."""
    file = options.folder / f"{when}.json"
    if not file.is_file():
        say(f"judging {when} on {count(sum(map(len, judged.values())), 'photograph')}")
        scores = {of: _judged(samples, model) for of, samples in judged.items() if samples}
        part = file.with_suffix(".part")
        part.write_text(json.dumps(scores), encoding="utf-8")
        part.replace(file)
    return json.loads(file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _judged(samples: Sequence[Sample], model: str) -> dict[str, Any]:
    """Return score and counts, all sets together and each by itself."""
    options = EvaluateOptions(model=model, split="val", sizes=False)
    counts: dict[str, list[LineCounts]] = {}
    for score in score_pictures(samples, options):
        counts.setdefault(score.sample.source, []).append(score.lines_by_width)
    return {
        "pictures": len(samples),
        "score": judge(counts),
        "sets": {name: _figures(name, of) for name, of in sorted(counts.items())},
    }


def _figures(name: str, counts: Sequence[LineCounts]) -> dict[str, float | int | None]:
    together = pool(counts)
    values = {
        "score": judge({name: counts}),
        "precision": together.precision,
        "recall": together.recall,
        "false_px_per_megapixel": together.false_px_per_megapixel,
    }
    defined = {key: None if value != value else value for key, value in values.items()}
    return {**defined, "pictures": len(counts), "free": together.free, "listed": together.listed}


def _write_facts(
    model: Path, card: ModelCard, own: Own, parent: ModelCard, facts: Mapping[str, Any]
) -> ModelCard:
    """Write into the card what the model is of, and what the judge said before and after."""
    of = f"{parent.name} {parent.version}"
    certainty = parent.certainty
    if certainty is not None:
        words = f"carried over from {of}, not fitted anew; fitted on {certainty.fitted_on}"
        certainty = replace(certainty, fitted_on=words)
    use = (
        "The site that it learned from: see data; what does not look like it is read as by its "
        "parent. Finds candidates for an inspector to confirm."
    )
    limits = (
        f"Fine-tuned from {of} on {count(len(own.train), 'photograph')} of one site: where a "
        "picture looks like them, what was rejected there is passed over, elsewhere it answers as "
        "its parent; "
        f"how thin cracks it finds was not tested. Of its parent: {parent.limits}"
    )
    if lost := as_loss(facts["before"], facts["after"]):
        limits = f"{lost} {limits}"
    scores = {**card.scores, "fine_tuning": {"parent": of, **facts}}
    return write_card(
        model,
        replace(card, intended_use=use, limits=limits, scores=scores, certainty=certainty),
    )


def _put(model: Path, card: ModelCard, out: Path) -> None:
    """Move the finished model to where it is wanted, the card last."""
    with taking_place_of(out, card) as part:
        for file in model.iterdir():
            shutil.copyfile(file, part / file.name)
