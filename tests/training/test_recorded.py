"""A recorded step is the step: the mean to the last bit, on a GPU the whole training too."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from crackseg.training import contest, recorded  # noqa: E402
from crackseg.training.contest import digest_of, learn, settle_device  # noqa: E402
from crackseg.training.crop_pool import STEPS_PER_CHUNK, Pool  # noqa: E402
from crackseg.training.fit import Segmenter  # noqa: E402
from crackseg.training.options import DataOptions, FitOptions, TrainOptions  # noqa: E402
from crackseg.training.recorded import Recorded  # noqa: E402

NETWORKS = {
    "index": ("cdds", {"width": 0.125, "dropout": 0.2}),
    "bilinear": ("cdds", {"width": 0.125, "upsample": "bilinear"}),
    "unet": ("unet", {"width": 0.125}),
    "fcn": ("fcn", {"width": 0.0625}),
    "segnet": ("segnet", {"width": 0.125}),
    "resnet152": ("resnet152", {"width": 0.0625}),
    "cdds_lite": ("cdds_lite", {}),
    "fcn_lite": ("fcn_lite", {}),
    "deeplab": ("smp:deeplabv3plus:tu-tf_efficientnet_lite0", {}),
    "pspnet": ("smp:pspnet:tu-tf_efficientnet_lite0", {}),
    "classifier": ("classifier:resnet18", {}),
}


@pytest.fixture
def pool(tmp_path):
    """Crops of one chunk: a slanted line on a rough wall."""
    rng = np.random.default_rng(0)
    row, col = np.mgrid[:96, :96]
    label = np.abs(row - col) < 3
    crops = rng.integers(120, 200, (2 * STEPS_PER_CHUNK, 4, 96, 96), dtype=np.uint8)
    crops[:, :3] -= 90 * label.astype(np.uint8)
    crops[:, 3] = label
    (tmp_path / "pool").mkdir()
    np.save(tmp_path / "pool" / "0000.npy", crops)
    return Pool(folder=tmp_path / "pool", batch=2)


def options_of(tmp_path, network, arguments, steps=8):
    return TrainOptions(
        name="run",
        out=tmp_path / "run",
        network=network,
        arguments=arguments,
        data=DataOptions(manifest=tmp_path / "none.csv", crop_px=96, batch=2),
        fit=FitOptions(steps=steps, steps_per_epoch=4, lr=1e-3, branch_weight=0.1, ema=0.9),
    )


def last_of(run, pool, device):
    return list(learn(run, pool, device, run.fit.steps))[-1][1]


def test_the_mean_moves_as_the_library_moves_it(tmp_path):
    module = Segmenter(options_of(tmp_path, "unet", {"width": 0.03125}))
    theirs = copy.deepcopy(module.average)
    move = contest._mean_of(module)
    rng = torch.Generator().manual_seed(0)
    for step in range(4):
        with torch.no_grad():
            for value in contest._tensors(module.network):
                value += torch.rand(value.shape, generator=rng).to(value.dtype) + step
        theirs.update_parameters(module.network)
        if step:
            move()
        else:
            module.average.update_parameters(module.network)
    assert int(module.average.n_averaged) == int(theirs.n_averaged) == 4
    ours, wanted = module.average.state_dict(), theirs.state_dict()
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)
    assert not torch.equal(ours["module.head.weight"], module.network.state_dict()["head.weight"])


def test_without_a_gpu_every_call_is_a_call():
    seen = []
    call = Recorded(seen.append, records=False)
    for number in range(6):
        call(number)
    assert seen == list(range(6))


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETWORKS)
def test_a_replayed_training_is_the_plain_one_to_the_last_bit(name, pool, tmp_path, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    run = options_of(tmp_path, *NETWORKS[name])
    device = settle_device()
    replayed = digest_of(last_of(run, pool, device))
    monkeypatch.setattr(recorded, "WARM_UP", run.fit.steps)  # the recording never comes
    plain = last_of(run, pool, device)
    assert replayed == digest_of(plain)
    monkeypatch.setattr(contest, "Recorded", lambda function, **_: function)
    assert replayed == digest_of(last_of(run, pool, device))
