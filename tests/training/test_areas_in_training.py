"""What is left out changes no loss, and no network that learns from more than pixels sees it."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="extra train is not installed")
pytest.importorskip("lightning", reason="extra train is not installed")

from crackseg.losses import LOSSES  # noqa: E402
from crackseg.training.fit import Segmenter  # noqa: E402
from crackseg.training.labels import CRACK, LEFT_OUT, OTHER  # noqa: E402
from crackseg.training.options import FitOptions  # noqa: E402

BEYOND_PX = {"dice_cldice": 6}  # losses that look at neighbours: how far; soft skeletons do


def _labels():
    labels = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    labels[:, :, 4:7] = CRACK
    labels[:, :, 12:14] = OTHER
    labels[:, :, :, 20:] = LEFT_OUT
    return labels


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_looks_at_what_is_left_out(name):
    options = SimpleNamespace(fit=FitOptions(loss=name, steps=1, steps_per_epoch=1))
    module = SimpleNamespace(options=options)
    labels = _labels()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 32, 32, generator=generator, requires_grad=True)
    loss = Segmenter._pixel_loss(module, logits, labels)
    loss.backward()
    beyond = BEYOND_PX.get(name, 0)
    assert not logits.grad[..., 20 + beyond :].any()
    assert logits.grad[..., :20].abs().sum() > 0
    other = logits.detach().clone()
    other[..., 20 + beyond :] = 9.0
    again = Segmenter._pixel_loss(module, other, labels)
    assert again.item() == pytest.approx(loss.item(), abs=1e-6)


def test_a_network_with_a_loss_of_its_own_is_not_shown_what_is_left_out():
    shown = []

    class Own(torch.nn.Module):
        def loss(self, x, mask):
            shown.append((x, mask))
            return x.sum() * 0

    module = SimpleNamespace(
        network=Own(),
        normalize=lambda image: image.float() + 1,
        options=None,
        global_step=0,
        lr=1e-30,
        log=lambda *_, **__: None,
    )
    module.loss_of = partial(Segmenter.loss_of, module)
    Segmenter.training_step(module, (torch.zeros(2, 3, 32, 32), _labels()), 0)
    ((x, mask),) = shown
    assert not x[..., 20:].any()
    assert (x[..., :20] == 1).all()
    assert mask.sum() == 2 * 3 * 20
