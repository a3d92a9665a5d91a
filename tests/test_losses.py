"""Battery over LOSSES: naive loops, finite, useful on crack-free tiles, blind to invalid."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from crackseg.losses import LOSSES, deep_loss, outline_weight  # noqa: E402 - torch is optional


def _batch(seed: int = 0, crack: bool = True):
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(0, 2, (2, 1, 8, 8)), dtype=torch.float64)
    target = torch.tensor(rng.random((2, 1, 8, 8)) < (0.3 if crack else -1))
    return logits, target.to(torch.uint8), torch.ones(2, 1, 8, 8, dtype=torch.bool)


@pytest.mark.parametrize("name", LOSSES)
def test_finite_at_extreme_logits(name):
    _, target, valid = _batch()
    for value in (-50.0, 50.0):
        logits = torch.full((2, 1, 8, 8), value, requires_grad=True)
        loss = LOSSES[name](logits, target, valid)
        loss.backward()
        assert math.isfinite(loss.item())
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_pushes_false_cracks_down_on_a_crack_free_tile(name):
    _, target, valid = _batch(crack=False)
    logits = torch.full((2, 1, 8, 8), 1.0, dtype=torch.float64, requires_grad=True)
    LOSSES[name](logits, target, valid).backward()
    assert (logits.grad > 0).all(), "every wrongly marked pixel must feel the loss"


@pytest.mark.parametrize("name", LOSSES)
def test_invalid_pixels_do_not_count(name):
    logits, target, valid = _batch()
    valid[..., 4:] = False
    before = LOSSES[name](logits, target, valid)
    logits, target = logits.clone(), target.clone()
    logits[..., 5:] = 9.0
    target[..., 5:] = 1 - target[..., 5:]
    torch.testing.assert_close(LOSSES[name](logits, target, valid), before)


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_answer_costs_less_than_a_wrong_one(name):
    _, target, valid = _batch()
    right = (target.double() * 2 - 1) * 8
    assert LOSSES[name](right, target, valid) < 0.35 * LOSSES[name](-right, target, valid)


def test_dice_equals_its_formula_in_a_loop():
    logits, target, valid = _batch(3)
    total = 0.0
    for image, label in zip(logits, target, strict=True):
        overlap = sums = 0.0
        for z, g in zip(image.flatten().tolist(), label.flatten().tolist(), strict=True):
            p = 1 / (1 + math.exp(-z))
            overlap, sums = overlap + p * g, sums + p + g
        total += 1 - (2 * overlap + 1) / (sums + 1)
    assert float(LOSSES["dice"](logits, target, valid)) == pytest.approx(total / 2, rel=1e-9)


def test_focal_and_bce_equal_their_formulas_in_a_loop():
    logits, target, valid = _batch(4)
    bce = focal = 0.0
    for z, g in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-z))
        right = p if g else 1 - p
        bce += -math.log(right) / target.numel()
        focal += -(0.75 if g else 0.25) * (1 - right) ** 2 * math.log(right) / target.numel()
    assert float(LOSSES["bce"](logits, target, valid)) == pytest.approx(bce, rel=1e-9)
    assert float(LOSSES["focal"](logits, target, valid)) == pytest.approx(focal, rel=1e-9)


def test_deep_loss_adds_the_weighted_branches():
    logits, target, valid = _batch()
    one = LOSSES["dice"](logits, target, valid)
    total = deep_loss("dice", (logits, logits, logits), target, valid, 0.5)
    torch.testing.assert_close(total, 2 * one)


def test_an_outline_weighs_more_and_thin_labels_and_the_inside_do_not():
    label = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    label[..., 4:14, 2:30] = True  # wide: 10 px
    label[..., 20:22, 2:30] = True  # thin: 2 px
    weight = outline_weight(label, 3.0)[0, 0]
    assert (weight[[4, 5, 12, 13], 10] == 3).all()
    assert (weight[6:12, 10] == 1).all()
    assert (weight[~label[0, 0]] == 1).all()
    assert (weight[20:22, 10] == 1).all()


def test_a_weight_counts_as_often_as_the_pixels_it_stands_for():
    logits = torch.tensor([[-1.0, 0.5, 2.0]]).view(1, 1, 1, 3)
    target = torch.tensor([[1.0, 1.0, 0.0]]).view(1, 1, 1, 3)
    weight = torch.tensor([[2.0, 1.0, 1.0]]).view(1, 1, 1, 3)
    twice = [x.view(-1)[[0, 0, 1, 2]].view(1, 1, 1, 4) for x in (logits, target)]
    every = torch.ones(1, 1, 1, 4, dtype=torch.bool)
    assert float(LOSSES["dice_bce"](logits, target, weight)) == pytest.approx(
        float(LOSSES["dice_bce"](*twice, every))
    )
