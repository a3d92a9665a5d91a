"""Verdicts on photographs -> the decoder of a site's network, which else answers as its parent.

Three kinds of crops take turns: the site's, where what was rejected must fall silent and what was
drawn must be marked; the same with cracks, lines and fittings drawn into them; and rendered walls.
Everywhere but at the verdicts the parent's own answer is the target (Hinton et al. 2015, at
temperature 1; Li and Hoiem 2016), as squares of differences of logits: probabilities of 0.99 and
0.97 are next to equal, and one is above the threshold. Encoder and statistics of batch norm stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from crackseg.records import Sample
from crackseg.training.augment import AugmentOptions
from crackseg.training.dataset import Crops
from crackseg.training.labels import CRACK, LEFT_OUT, NOTHING, OTHER, UNKNOWN
from crackseg.training.options import DataOptions, TrainOptions
from crackseg.training.start import require_finite

PLAIN = AugmentOptions(native=0.7, hair=0.0, distract=0.0, patch=0.1)
RICH = AugmentOptions(
    native=0.4, shrink=0.15, hair=0.6, line=0.4, lookalike=0.2, patch=0.2, fitting=0.1,
    hair_high_px=10.0,
)  # fmt: skip
SHARES = {"site": 3, "drawn": 1, "walls": 2}  # crops of each kind in a batch of six
KEPT_EVERY = 30  # steps: so many are lost at most where a run is stopped
_AVERAGE = 0.95  # running mean of the weights, which is what is learned
_WARM = 10  # steps
_LINE = -2.0  # logit from which something is no background
_SURE = 2.0  # logits beyond 0 at which a verdict is learned
_MOST = 9.0  # logits beyond are equal

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What crops are drawn from."""

    site: Sequence[Sample]  # with areas
    walls: Sequence[Sample]


def learn_verdicts(network: Any, sources: Sources, options: TrainOptions, say: Say) -> None:
    """Train the site's decoder in place, going on where an earlier call was stopped.

    Args:
        network: of ``cdds_site``, both decoders with the parent's weights.
        sources: what crops are drawn from.
        options: steps, rate, crop and batch sizes; checkpoints lie in ``out``.
        say: called with a line now and then.

    Raises:
        TrainingError: a loss is not finite.
    """
    torch.set_num_threads(options.fit.threads)
    network.eval()
    weights = list(network.site.parameters())
    optimizer = torch.optim.AdamW(weights, lr=options.fit.lr, weight_decay=0)
    average = {name: value.clone() for name, value in network.site.state_dict().items()}
    first = _resume(options.out / "checkpoint.pt", network.site, average, optimizer)
    draw = _drawer(sources, options)
    for step in range(first, options.fit.steps):
        optimizer.param_groups[0]["lr"] = options.fit.lr * _rate(step, options.fit.steps)
        image, labels = draw(step)
        loss = _loss_of(network, normalize(image, options), labels)
        require_finite("the loss", loss, step + 1, options.fit.lr, options)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, options.fit.clip_norm)
        optimizer.step()
        _follow(average, network.site.state_dict())
        if (step + 1) % KEPT_EVERY == 0:
            _keep(options.out / "checkpoint.pt", step + 1, network.site, average, optimizer)
            say(f"step {step + 1} of {options.fit.steps}, loss {float(loss.detach()):.3f}")
    network.site.load_state_dict(average)


def normalize(image: Any, options: TrainOptions) -> Any:
    """Return (N, 3, H, W) uint8 as the network's float input."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (options.mean, options.std))
    return (image.float() - mean) / std


def _drawer(sources: Sources, options: TrainOptions) -> Callable[[int], tuple[Any, Any]]:
    """Return a function from the number of a step to pictures and labels."""
    kinds: Mapping[str, tuple[Sequence[Sample], AugmentOptions]] = {
        "site": (sources.site, PLAIN),
        "drawn": (sources.site, RICH),
        "walls": (sources.walls, RICH),
    }
    crops = {}
    for seed, (kind, (samples, augment)) in enumerate(kinds.items()):
        data = DataOptions(
            manifest=options.data.manifest, crop_px=options.data.crop_px, augment=augment
        )
        crops[kind] = Crops(samples, data, 3 * options.seed + seed, lines=False)
    total = sum(SHARES.values())
    counts = {kind: -(-options.data.batch * share // total) for kind, share in SHARES.items()}

    def draw(step: int) -> tuple[Any, Any]:
        images, labels = [], []
        for kind, count in counts.items():
            for number in range(step * count, (step + 1) * count):
                image, label = crops[kind][number]
                images.append(image)
                labels.append(label if kind == "site" else _as_before(label, kind))
        return torch.stack(images), torch.stack(labels)

    return draw


def _as_before(labels: Any, kind: str) -> Any:
    """Return labels of a crop that teaches nothing but its parent's answers."""
    other = torch.full_like(labels, NOTHING)
    if kind == "drawn":  # of the site: there the parent was wrong
        other[(labels == UNKNOWN) | (labels == OTHER) | (labels == LEFT_OUT)] = LEFT_OUT
    return other


def _loss_of(network: Any, x: Any, labels: Any) -> Any:
    with torch.no_grad():
        encoded = network.parent.encoder(x)
        before = network.parent(x, encoded)
    return verdict_loss(network.site(x, encoded), before, labels)


def verdict_loss(logits: Any, before: Any, labels: Any) -> Any:
    """Return the loss of what was rejected, of what was missed, and of all that changed beside it.

    Each is a mean over its own pixels, as rejected ones are few.

    Args:
        logits: (N, K, H, W).
        before: (N, K, H, W) of the parent.
        labels: (N, 1, H, W) uint8; ``UNKNOWN`` and ``OTHER`` are no crack, ``NOTHING`` was not
            spoken of, ``LEFT_OUT`` counts for nothing.
    """
    crack, out = labels == CRACK, labels == LEFT_OUT
    none = _grown((labels == UNKNOWN) | (labels == OTHER), 9) & ~_grown(crack, 5) & ~out
    missed = crack & ~_grown(before[:, :1] > 0, 9)  # beside a mark lie the edges of its mask
    loss = _mean(F.softplus(logits[:, :1] + _SURE), none)
    loss = loss + _mean(F.softplus(_SURE - logits[:, :1]), missed)
    beside = ~(none | missed | _grown(out, 9))
    change = ((logits.clamp(-_MOST, _MOST) - before.clamp(-_MOST, _MOST)) / 2).square()
    change = change.mean(1, keepdim=True)
    either = torch.maximum(logits.detach(), before).amax(1, keepdim=True)
    line = _grown(either > _LINE, 5)
    return loss + _mean(change, beside & line) + _mean(change, beside & ~line)


def _grown(mask: Any, size: int) -> Any:
    return F.max_pool2d(mask.float(), size, 1, size // 2) > 0


def _mean(values: Any, where: Any) -> Any:
    return (values * where).sum() / where.sum().clamp(min=1)


def _rate(step: int, steps: int) -> float:
    """Return what the rate is multiplied by: it falls to zero in the second half."""
    return min(1.0, (step + 1) / _WARM) * min(1.0, 2 * (1 - step / steps))


def _follow(average: dict[str, Any], state: Mapping[str, Any]) -> None:
    for name, value in state.items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - _AVERAGE)


def _keep(path: Path, step: int, site: Any, average: dict[str, Any], optimizer: Any) -> None:
    part = path.with_suffix(".part")
    state = {"site": site.state_dict(), "average": average, "optimizer": optimizer.state_dict()}
    torch.save({"step": step, **state}, part)
    part.replace(path)


def _resume(path: Path, site: Any, average: dict[str, Any], optimizer: Any) -> int:
    """Load a checkpoint where there is one; return the number of steps done."""
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)  # noqa: TID251 - tensors and plain values only
    site.load_state_dict(state["site"])
    average.update(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
