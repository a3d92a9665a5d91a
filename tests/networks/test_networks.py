"""One battery over every network: shapes, odd sizes, learning, seeds, the written graph."""

from __future__ import annotations

import copy
import inspect
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from crackseg.errors import ConfigError, ModelError, UnknownName  # noqa: E402
from crackseg.losses import deep_loss  # noqa: E402
from crackseg.networks import NETWORKS, build, find  # noqa: E402
from crackseg.networks.classifiers import TileClassifier  # noqa: E402
from crackseg.networks.cost import measure_cost  # noqa: E402
from crackseg.networks.layers import AdaptiveMean, bilinear_deconv, pool, unpool  # noqa: E402
from crackseg.networks.mask_rcnn import instances_of, merge  # noqa: E402
from crackseg.training import export_onnx  # noqa: E402
from crackseg.training.export_onnx import (  # noqa: E402
    PARITY,
    PixelsToProbability,
    _away,
    write_graph,
)

SMALL = {"width": 0.0625}
PIXELS = {  # networks with one logit per pixel, at sizes for a test
    "cdds": SMALL,
    "cdds_lite": {},
    "cdds_site": {},
    "fcn": SMALL,
    "fcn_lite": {},
    "icnet": {},
    "resnet152": SMALL,
    "segnet": SMALL,
    "unet": SMALL,
    "smp:deeplabv3plus:mobilenet_v2": {},
    "smp:pspnet:mobilenet_v2": {},
}
OTHERS = (  # of the libraries, each kind of encoder and of architecture once
    "smp:deeplabv3plus:resnet18",
    "smp:deeplabv3:mobilenet_v2",
    "smp:pspnet:vgg11_bn",
    "smp:unetplusplus:vgg11",
    "smp:unet:densenet121",
    "smp:unet:resnext50_32x4d",
    "smp:fpn:inceptionv4",
    "smp:linknet:xception",
    "classifier:alexnet",
    "classifier:vgg11",
    "classifier:googlenet",
    "classifier:resnet18",
    "classifier:mobilenet_v2",
    "classifier:densenet121",
)
EXPORTED = (*PIXELS, *OTHERS)
QUICK = ("cdds", "cdds_lite")  # the article's and the shipped one; the others take long to export
SWITCHES = [
    {"stage_depths": (2, 2, 3, 4, 4)},
    {"stage_depths": (2, 2, 3, 3, 5), "deconv_kernel": 1},
    {"upsample": "nearest"},
    {"upsample": "bilinear", "dropout": 0.0},
    {"skip": False},
    {"predict_from": "main"},
]


def multiple_of(network):
    """Return what the sides of a network's graph must divide by; the product takes the same."""
    return getattr(network, "multiple", 32)


def make(name, seed=0, **arguments):
    torch.manual_seed(seed)
    return build(name, **(arguments or PIXELS.get(name, {})))


def crack_tiles(size=64):
    """Two normalised tiles with a dark line each, and their masks."""
    rows, cols = np.mgrid[:size, :size]
    lines = [np.abs(rows - size / 2) < 3, np.abs(rows - cols) < 3]
    mask = torch.from_numpy(np.stack(lines)[:, None].astype(np.float32))
    return (0.4 - 1.5 * mask).expand(-1, 3, -1, -1).contiguous(), mask


ROWS = re.findall(  # of the table of systems: name, and what it is built by
    r"^\| ([^|]+) \| \d{4} \| `([^`]+)` \|",
    (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
BRISK = ("classifier:lenet", "classifier:nin", "classifier:tu-mobilenetv1_100", "detector:ssdlite")


def test_the_table_of_systems_is_read():
    assert len(ROWS) == 32
    assert set(BRISK) <= {name for _, name in ROWS}


@pytest.mark.parametrize(
    ("system", "name"),
    [row if row[1] in BRISK else pytest.param(*row, marks=pytest.mark.slow) for row in ROWS],
    ids=[system for system, _ in ROWS],
)
def test_every_system_takes_a_tile_and_a_training_step(system, name):
    x, mask = crack_tiles(128)
    network = make(name, seed=1).train()
    before = copy.deepcopy(network.state_dict())
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    own = getattr(network, "loss", None)
    if own:
        loss = own(x, mask)
    else:
        outputs = network(x)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = deep_loss("dice_bce", outputs, mask, torch.ones_like(mask, dtype=torch.bool), 0.5)
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    moved = [k for k, v in network.named_parameters() if not torch.equal(v, before[k])]
    assert len(moved) > len(before) / 4
    with torch.inference_mode():
        logits = network.eval()(x[:1])
    assert logits.shape == (1, 1, 128, 128)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_the_table_is_in_the_battery(name):
    assert name in PIXELS or name == "mask_rcnn"


@pytest.mark.parametrize("name", PIXELS)
def test_any_size_gives_one_logit_per_pixel(name):
    network = make(name).eval()
    for height, width in [(64, 96), (33, 70), (97, 41)]:
        with torch.inference_mode():
            logits = network(torch.randn(1, 3, height, width))
        assert logits.shape == (1, 1, height, width)
        assert logits.isfinite().all()


@pytest.mark.parametrize("name", PIXELS)
def test_steps_lower_the_loss(name):
    x, mask = crack_tiles()
    valid = torch.ones_like(mask, dtype=torch.bool)
    network = make(name).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        torch.manual_seed(1)  # the same dropout at every step
        outputs = network(x)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        assert all(output.shape == mask.shape for output in outputs)
        loss = deep_loss("dice_bce", outputs, mask, valid, 0.5)
        optimizer.zero_grad()
        loss.backward()
        if ":" not in name:  # libraries keep layers of an encoder that a decoder does not use
            assert [n for n, p in network.named_parameters() if p.grad is None] == []
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", PIXELS)
def test_same_seed_same_weights(name):
    first, again, other = (make(name, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def settle(network):
    """Give running means and variances as of a trained network: fresh ones would hide a lost one.

    Behind fresh ones the values of a deep network also grow without bound. The picture is large
    enough for the deepest maps to hold some pixels to take a variance of.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.train().momentum = 1.0
    with torch.no_grad():
        network(torch.randn(2, 3, 160, 160))
    for layer, momentum in zip(layers, before, strict=True):
        layer.eval().momentum = momentum
        layer.running_mean.add_(torch.randn_like(layer.running_mean) * 0.1)
        layer.running_var.mul_(torch.rand_like(layer.running_var) + 0.5)


class Spread(nn.Module):
    """A network whose logits lie about 0 and spread by 2, as of a trained one.

    Those of a fresh network may all be -10, where every graph agrees, or 50, where none does.
    """

    def __init__(self, network):
        super().__init__()
        self.network, self.multiple = network, multiple_of(network)
        with torch.no_grad():
            logits = network(torch.randn(2, 3, 160, 160))
        self.register_buffer("middle", logits.mean())
        self.register_buffer("scale", 2 / logits.std())

    def forward(self, x):
        return self.scale * (self.network(x) - self.middle)


def assert_graph_agrees(network, file):
    """Write the graph; compare it with torch at other sizes than it was written from."""
    settle(network.eval())
    decides = isinstance(network, TileClassifier)
    network = network if decides else Spread(network).eval()
    mean, std = (127.0, 120.0, 110.0), (64.0, 60.0, 50.0)
    multiple = multiple_of(network)
    worst = write_graph(network, file, mean=mean, std=std, multiple=multiple)
    assert worst <= PARITY
    height, width = 3 * multiple + 5, 4 * multiple - 1  # the caller pads these
    image = np.random.default_rng(1).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    pads = [(0, 0), *((0, -side % multiple) for side in (height, width)), (0, 0)]
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    answer = session.run(None, {"image": np.pad(image, pads, mode="edge")})[0]
    module, picture = PixelsToProbability(network, mean, std), torch.from_numpy(image)
    with torch.inference_mode():
        single = module(picture).numpy()
        expected = copy.deepcopy(module).double()(picture).numpy()
    assert expected.shape == (1, height, width)
    assert decides or np.ptp(expected) > 0.1
    allowed = max(PARITY, 2 * np.abs(single - expected).max())  # what single precision loses
    assert allowed < 1e-3
    assert np.abs(answer[:, :height, :width] - expected).max() <= allowed


class Cancelling(nn.Module):
    """What single precision loses here, 1e-3 of each logit, double precision keeps."""

    def forward(self, x):
        return (x[:, :1] + 30000) - 30000


class Answers:
    """A session that gives the truth of ``Cancelling`` and ``error`` more."""

    def __init__(self, error):
        self.error = error

    def run(self, _, feeds):
        return [1 / (1 + np.exp((127.0 - feeds["image"][..., 0]) / 60)) + self.error]


@pytest.mark.parametrize("error", [0.0, 5e-4, np.nan])
def test_double_precision_judges_a_graph_where_the_single_one_errs(error):
    module = PixelsToProbability(Cancelling(), (127.0,) * 3, (60.0,) * 3)
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    answer = Answers(0.0).run(None, {"image": image})[0]
    assert np.abs(module(torch.from_numpy(image)).numpy() - answer).max() > PARITY
    assert _away(Answers(error), module, image) == pytest.approx(error, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in EXPORTED],
)
def test_the_written_graph_agrees_at_other_sizes(name, tmp_path):
    assert_graph_agrees(make(name), tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_the_written_graph_knows_the_switches_of_cdds(switch, tmp_path):
    assert_graph_agrees(make("cdds", **SMALL, **switch), tmp_path / "model.onnx")


def striped(rng):
    """Return two noisy pictures (2, 128, 128, 3) uint8, a dark stripe in each, and its mask."""
    rows, cols = np.mgrid[:128, :128]
    middles, slopes = rng.uniform(20, 108, (2, 1, 1)), rng.uniform(-0.4, 0.4, (2, 1, 1))
    mask = abs(rows - middles - slopes * (cols - 64)) < 2.5
    grey = rng.normal(150, 15, (2, 128, 128, 3)) - 90 * mask[..., None]
    return np.clip(grey, 0, 255).astype(np.uint8), mask


def tell_apart(model, look):
    """Spread the answers of a fresh Mask R-CNN's heads as training does.

    A fresh network finds all boxes equally good: which of them it keeps would be a matter of the
    last bit, and no graph could follow. A training long enough to part them ends elsewhere on
    every processor.
    """
    heads = [
        (model.rpn.head.cls_logits, 1.0),
        (model.rpn.head.bbox_pred, 0.2),
        (model.roi_heads.box_predictor.cls_score, 1.0),
        (model.roi_heads.box_predictor.bbox_pred, 0.5),
        (model.roi_heads.mask_predictor.mask_fcn_logits, 1.0),
    ]
    for head, spread in heads:
        answers = []
        hook = head.register_forward_hook(lambda *call, to=answers: to.append(call[2].std()))
        look()
        hook.remove()
        with torch.no_grad():
            head.weight.mul_(spread / max(answers))


@pytest.mark.slow
def test_the_written_graph_of_mask_rcnn_follows_what_it_finds(tmp_path, monkeypatch):
    network = make("mask_rcnn", instances=5)
    mean, std = (127.0, 127.0, 127.0), (64.0, 64.0, 64.0)
    module = PixelsToProbability(network, mean, std).eval()
    images = [striped(np.random.default_rng(seed))[0] for seed in range(3)]
    images[1] = images[1][:, :96]

    def look(judge=module, image=images[0]):
        with torch.inference_mode():
            return judge(torch.from_numpy(image)).numpy()

    tell_apart(network.model, look)
    drawn = np.tile(striped(np.random.default_rng(9))[0], (2, 1, 2, 1))
    monkeypatch.setattr(  # in mere noise all boxes would be alike again
        export_onnx, "_noise", lambda shape: drawn[: shape[0], : shape[1], : shape[2]].copy()
    )
    file = tmp_path / "model.onnx"
    assert write_graph(network, file, mean=mean, std=std, multiple=32) <= PARITY
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    exact, maps = copy.deepcopy(module).double(), []
    for image in images:
        maps.append(look(exact, image))
        assert maps[-1].max() > 0.5
        assert np.abs(session.run(None, {"image": image})[0] - maps[-1]).max() <= PARITY
    assert np.abs(maps[0] - maps[2]).max() > 0.1  # what it finds is each picture's own
    nothing = make("mask_rcnn", score=1.0).eval()
    with torch.inference_mode():
        assert torch.sigmoid(nothing(torch.zeros(1, 3, 40, 50))).max() < 1e-5


def test_instances_are_laid_on_the_picture_bilinearly():
    masks = torch.zeros(2, 1, 4, 4)
    masks[0] = 1
    masks[1, 0, 1] = 1  # the second row of four
    boxes = torch.tensor([[2.0, 4.0, 10.0, 12.0], [16.0, 2.0, 24.0, 18.0]])
    instances = {"masks": masks, "boxes": boxes, "scores": torch.tensor([0.8, 0.5])}
    laid = merge(instances, 20, 30)
    assert laid.shape == (1, 20, 30)
    assert torch.allclose(laid[0, 6:10, 4:8], torch.tensor(0.8))  # well inside of the first
    assert float(laid[0, 4, 4]) == pytest.approx(0.8 * 0.75)  # half a cell off its last centre
    expected = F.interpolate(masks[1:], (16, 8), mode="bilinear", align_corners=False) * 0.5
    assert torch.allclose(laid[0, 4:16, 17:23], expected[0, 0, 2:14, 1:7])
    assert float(laid[0, :, 26:].max()) == 0
    empty = {"masks": masks[:0], "boxes": boxes[:0], "scores": torch.zeros(0)}
    assert torch.equal(merge(empty, 5, 7), torch.zeros(1, 5, 7))


def test_cdds_has_the_layers_and_the_cost_of_its_table():
    network = build("cdds")
    kinds = [type(m) for m in network.down.modules()], [type(m) for m in network.up.modules()]
    assert kinds[0].count(nn.Conv2d) == 15
    assert kinds[1].count(nn.ConvTranspose2d) == 15
    assert len(network.branches) == 4
    cost = measure_cost(network, 512, 512)
    assert cost.parameters / 1e6 == pytest.approx(29.85, abs=0.005)
    assert cost.gmac == pytest.approx(208.4, abs=0.05)
    quarter = measure_cost(build("cdds", width=0.25), 512, 512)
    assert quarter.parameters / 1e6 == pytest.approx(1.87, abs=0.005)
    assert quarter.gmac == pytest.approx(13.2, abs=0.05)


def test_cdds_pools_and_unpools_four_times(monkeypatch):
    import crackseg.networks.cdds as module

    calls = []
    monkeypatch.setattr(module, "pool", lambda x: calls.append("pool") or pool(x))
    monkeypatch.setattr(module, "unpool", lambda x, p: calls.append("unpool") or unpool(x, p))
    make("cdds").eval()(torch.zeros(1, 3, 32, 32))
    assert calls == ["pool"] * 4 + ["unpool"] * 4


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_switches_of_cdds(switch):
    network = make("cdds", **SMALL, **switch)
    convolutions = [m for m in network.down.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 15
    outputs = network.train()(torch.randn(2, 3, 40, 48))
    assert len(outputs) == (1 if switch.get("skip") is False else 5)
    with torch.inference_mode():
        assert network.eval()(torch.randn(1, 3, 40, 48)).shape == (1, 1, 40, 48)


def test_published_sizes_of_the_rivals():
    """Parameters in millions as their articles and libraries give them."""
    for name, millions in {"fcn": 134.3, "unet": 31.0, "segnet": 29.5, "resnet152": 67.2}.items():
        with torch.device("meta"):
            network = build(name)
        parameters = sum(p.numel() for p in network.parameters())
        assert parameters / 1e6 == pytest.approx(millions, abs=0.06), name


@pytest.mark.parametrize("shape", [(2, 3, 8, 12), (1, 1, 2, 2), (1, 5, 4, 30)])
def test_unpooling_equals_torch_also_where_values_tie(shape):
    generator = torch.Generator().manual_seed(5)
    x = torch.randint(0, 3, shape, generator=generator).float().requires_grad_()
    values = torch.randn((*shape[:2], shape[2] // 2, shape[3] // 2), generator=generator)
    highest, indices = F.max_pool2d(x, 2, return_indices=True)
    ours, places = pool(x)
    assert torch.equal(ours, highest)
    assert torch.equal(unpool(values, places), F.max_unpool2d(values, indices, 2))
    assert torch.equal(sum(place.int() for place in places), torch.ones_like(values).int())
    weight = torch.randn_like(highest)
    expected = torch.autograd.grad((highest * weight).sum(), x)[0]
    assert torch.equal(torch.autograd.grad((pool(x)[0] * weight).sum(), x)[0], expected)


@pytest.mark.parametrize(
    ("height", "width", "bins"), [(6, 6, (6, 6)), (7, 19, (6, 3)), (3, 2, (6, 6))]
)
def test_adaptive_mean_equals_torch(height, width, bins):
    x = torch.randn(2, 3, height, width)
    assert torch.allclose(AdaptiveMean(*bins)(x), F.adaptive_avg_pool2d(x, bins), atol=1e-6)


def test_deconvolution_starts_bilinear():
    x = torch.randn(1, 2, 6, 7)
    for stride in (2, 4, 8):
        up = bilinear_deconv(2, stride)(x)
        expected = F.interpolate(x, scale_factor=stride, mode="bilinear", align_corners=False)
        inner = (..., slice(stride, -stride), slice(stride, -stride))
        assert torch.allclose(up[inner], expected[inner], atol=1e-6)


def assert_its_loss_falls(network, x, mask, *, steps, lr):
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        torch.manual_seed(1)
        loss = network.loss(x, mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["classifier:resnet18", "classifier:googlenet"])
def test_classifiers_learn_whether_a_tile_holds_a_crack(name):
    x, mask = crack_tiles(128)
    x = torch.cat([x, torch.full_like(x, 0.4)])
    mask = torch.cat([mask, torch.zeros_like(mask)])
    network = make(name).train()
    assert_its_loss_falls(network, x, mask, steps=5, lr=1e-3)
    with torch.inference_mode():
        logits = network.eval()(x)
    assert logits.shape == (4, 1, 128, 128)
    assert (logits == logits[..., :1, :1]).all()


@pytest.mark.slow
def test_mask_rcnn_learns_from_instances_and_merges_them():
    x, mask = crack_tiles(128)
    network = make("mask_rcnn").train()
    with pytest.raises(ConfigError, match="loss"):
        network(x)
    assert_its_loss_falls(network, x, mask, steps=6, lr=1e-4)
    with torch.inference_mode():
        logits = network.eval()(x[..., :100, :77])
    assert logits.shape == (2, 1, 100, 77)
    assert logits.isfinite().all()


def test_a_sliver_is_laid_one_pixel_wide_and_hardly_moves_by_rounding():
    def laid(shift):
        boxes = torch.tensor([[19.95 + shift, 5.0, 20.0 + shift, 25.0]])
        masks = torch.linspace(1, 0, 28).expand(1, 1, 28, 28)
        instances = {"boxes": boxes, "masks": masks, "scores": torch.ones(1)}
        return merge(instances, 30, 40)[0]

    assert (laid(0.0) > 0.02).any(0).sum() <= 3
    assert laid(0.0)[6:24].amax(1).min() > 0.1
    assert (laid(0.0) - laid(1e-5)).abs().max() < 1e-3


def test_instances_are_the_connected_pieces_of_a_mask():
    mask = torch.zeros(20, 30)
    mask[2, 3:15] = 1
    mask[10:18, 20] = 1
    mask[17, 21:25] = 1
    mask[0, 29] = 1  # too small
    instances = instances_of(mask)
    assert instances["boxes"].tolist() == [[3, 2, 15, 3], [20, 10, 25, 18]]
    assert instances["masks"].sum((1, 2)).tolist() == [12, 12]
    assert instances["labels"].tolist() == [1, 1]
    assert instances_of(mask * 0)["boxes"].shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "word"),
    [
        ("cddss", {}, UnknownName, "cdds"),
        ("cdds", {"widht": 1}, ConfigError, "widht"),
        ("cdds", {"width": 0}, ConfigError, "from 0.01 to 4, got 0"),
        ("cdds", {"stage_depths": (3, 3)}, ConfigError, "a list of 5 whole numbers"),
        ("cdds", {"upsample": "cubic"}, ConfigError, "bilinear"),
        ("smp:unett:resnet18", {}, UnknownName, "unet"),
        ("smp:unet:resnet19", {}, UnknownName, "resnet18"),
        ("smp:unet", {}, ConfigError, "encoder"),
        ("smp:unet:resnet18", {"decoder_channels": 3}, ConfigError, "resnet18"),
        ("smp:unet:resnet18", {"decoder_chanels": 3}, ConfigError, "decoder_channels"),
        ("smp:unet:resnet18", {"classes": 3}, ConfigError, "one of 1, 2"),
        ("smp:unet:resnet18", {"activation": "sigmoid"}, ConfigError, "not taken"),
        ("cdds_lite", {"encoder": "resnet"}, UnknownName, "resnet18"),
        ("cdds_lite", {"encoder": "vit_tiny_patch16_224"}, ConfigError, "strides"),
        ("icnet", {"encoder": "vit_tiny_patch16_224"}, ConfigError, "strides"),
        ("cdds_site", {"base": {"outputs": 0}}, ConfigError, "`arguments.outputs`.*1, 2, got 0"),
        ("classifier:resnet", {}, UnknownName, "resnet18"),
        ("classifier:resnet18", {"wings": 2}, ConfigError, "wings"),
        ("zoo:lion", {}, UnknownName, "smp"),
    ],
)
def test_wrong_names_and_arguments_are_named(name, arguments, error, word):
    with pytest.raises(error, match=word):
        build(name, **arguments)


WRONG = (  # of no argument of ours: no text is a mode or an encoder, no number a switch or a path
    -1, 2.5, 10**9, 10**400, float("nan"), float("inf"), "a", [], [3], [0] * 5, [2.5] * 5,
    ["a"] * 5, [10**9] * 5, {"a": 1},
)  # fmt: skip
EVERY_ARGUMENT = [
    (name, argument)
    for name in (*NETWORKS, "detector:ssdlite")
    for argument in list(inspect.signature(find(name)[0]).parameters)[name.count(":") :]
]


@pytest.mark.parametrize(("name", "argument"), EVERY_ARGUMENT)
def test_a_wrong_value_of_any_argument_of_our_networks_is_a_sentence(name, argument):
    free = {"width": (2.5,), "skip": (True,), "branches": (True,)}.get(argument, ())
    for value in (*WRONG, True):
        if value not in free:
            with pytest.raises((ConfigError, UnknownName, ModelError), match=argument) as caught:
                build(name, **{argument: value})
            assert len(str(caught.value)) < 300


def test_local_encoder_weights_are_loaded_or_refused(tmp_path):
    from safetensors.torch import save_file

    donor = make("smp:unet:mobilenet_v2", seed=1).model.encoder.state_dict()
    save_file(donor, tmp_path / "encoder.safetensors")
    torch.manual_seed(2)
    network = build("smp:unet:mobilenet_v2", encoder_weights=tmp_path / "encoder.safetensors")
    loaded = network.model.encoder.state_dict()
    assert all(torch.equal(loaded[key], donor[key]) for key in donor)
    with pytest.raises(ModelError, match="do not fit"):
        build("smp:unet:resnet18", encoder_weights=tmp_path / "encoder.safetensors")
    with pytest.raises(ModelError, match=r"missing.* cannot be read: No such file"):
        build("smp:unet:resnet18", encoder_weights=tmp_path / "missing.safetensors")
    for content in ([1, 2], {"a": 1}, {1: torch.zeros(1)}):
        torch.save(content, tmp_path / "other.pt")
        with pytest.raises(ModelError, match="must be a table of tensors by name"):
            build("cdds_lite", encoder_weights=tmp_path / "other.pt")
    for name, content in (("a.pt", b"text"), ("b.pt", b""), ("c.safetensors", b"text")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="must be a table of tensors by name"):
            build("cdds_lite", encoder_weights=tmp_path / name)
