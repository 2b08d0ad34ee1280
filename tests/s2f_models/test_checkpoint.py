import argparse
import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import torch
from golden_weights import fill_golden, golden_image
from torch import Tensor, nn

from s2f_models import CheckpointError, ESpikeFormer, ModelError, create, load_checkpoint

State = dict[str, Tensor]

KERNEL = "block3.0.attn.q_conv.0.weight"
COUNTER = "num_batches_tracked"


@pytest.fixture(scope="module")
def model() -> ESpikeFormer:
    """Small, of widths no published network has, in float32."""
    small = create("e_spikeformer_t", embed_dims=(4, 4, 8, 8), depths=(1, 1), num_classes=3)
    assert isinstance(small, ESpikeFormer)
    fill_golden(small, gain=2.0)
    return small.float()


@pytest.fixture
def state(model: ESpikeFormer) -> State:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def save(value: object, tmp_path: Path) -> Path:
    path = tmp_path / "ckpt.pth"
    torch.save(value, path)
    return path


def assert_same(loaded: nn.Module, expected: State) -> None:
    found = loaded.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_upstreams_container_is_read(model: ESpikeFormer, tmp_path: Path) -> None:
    image = torch.from_numpy(golden_image((2, 3, 32, 32))).float()
    optimizer = torch.optim.AdamW(model.parameters())
    saved = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 199,
        "scaler": {"scale": 65536.0},
        "args": argparse.Namespace(lr=6e-4, output_dir=Path("out"), model="small"),
    }
    path = save(saved, tmp_path)
    loaded, info = load_checkpoint(str(path))
    assert info.container == "model"
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not loaded.training
    assert torch.equal(loaded(image), model(image))
    assert (info.arch, info.D, info.D_assumed) == ("custom", 4, True)
    assert (info.classes, info.preprocessing) == (None, None)
    assert any("the file does not say D; 4 assumed: pass D" in text for text in info.notices)
    assert any("8 heads and strides 2, 2, 2, 2, 1 assumed" in text for text in info.notices)


def test_heads_and_strides_come_from_the_registry(tmp_path: Path) -> None:
    bundled = create("e_spikeformer_cifar10", num_classes=7)
    loaded, info = load_checkpoint(save(bundled.state_dict(), tmp_path), D=2)
    assert info.arch == "e_spikeformer_cifar10"
    assert loaded.config == info.config == replace(bundled.config, levels=2)
    assert info.config.num_heads != 8
    assert (info.D, info.D_assumed) == (2, False)
    (notice,) = info.notices
    strides = ", ".join(str(stride) for stride in bundled.config.strides)
    assert f"{bundled.config.num_heads} heads and strides {strides} taken from there" in notice


def test_our_recipe_says_everything(tmp_path: Path) -> None:
    bundled = create("e_spikeformer_cifar10", num_classes=2)
    saved = {
        "model": bundled.state_dict(),
        "arch": "e_spikeformer_cifar10",
        "D": 3,
        "classes": ["cat", "crème brûlée"],
        "preprocessing": {"size": 32, "mean": (0.5, 0.4, 0.3), "interpolation": "bicubic"},
        "calibration": torch.arange(96, dtype=torch.uint8).reshape(2, 4, 4, 3),
    }
    path = save(saved, tmp_path)
    _, info = load_checkpoint(path)
    assert (info.arch, info.D, info.D_assumed, info.notices) == (saved["arch"], 3, False, ())
    assert info.classes == ("cat", "crème brûlée")
    assert info.preprocessing == {
        "size": 32,
        "mean": [0.5, 0.4, 0.3],
        "interpolation": "bicubic",
    }
    assert info.calibration is not None
    assert info.calibration.ravel().tolist() == list(range(96))
    assert load_checkpoint(path, D=5)[1].D == 5
    with pytest.raises(CheckpointError, match=r"downsample1_1\.encode_conv\.weight has shape"):
        load_checkpoint(path, arch="e_spikeformer_s")


@pytest.mark.parametrize(
    "entries",
    [
        {"D": 0},
        {"D": 256},
        {"D": True},
        {"D": "4"},
        {"D": 4.0},
        {"arch": "resnet18"},
        {"arch": 3},
        {"arch": "e_spikeformer_t"},
        {"classes": ["a", "b"]},
        {"classes": "abc"},
        {"classes": ["a", "b", 3]},
        {"classes": ["a", "b", "\x1b[31m"]},
        {"classes": {"a": 1, "b": 2, "c": 3}},
        {"preprocessing": "bicubic"},
        {"preprocessing": {1: 2}},
        {"preprocessing": {"a b": 2}},
        {"preprocessing": {"mean": float("nan")}},
        {"preprocessing": {"mean": [[0.5]]}},
        {"preprocessing": {"mean": {"r": 0.5}}},
        {"preprocessing": {"mean": torch.zeros(3)}},
        {"preprocessing": {"mean": [0.5] * 10_000}},
        {"preprocessing": {"interpolation": "bi\ncubic"}},
        {"calibration": [1, 2]},
        {"calibration": torch.zeros(2, 8, 8, 3)},
        {"calibration": torch.zeros(2, 3, 8, 8, dtype=torch.uint8)},
        {"calibration": torch.zeros(0, 8, 8, 3, dtype=torch.uint8)},
    ],
)
def test_wrong_description_is_refused(
    entries: dict[str, object], state: State, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError):
        load_checkpoint(save({"model": state, **entries}, tmp_path))


def test_wrong_arguments_are_refused(state: State, tmp_path: Path) -> None:
    path = save(state, tmp_path)
    with pytest.raises(ModelError, match="no network called resnet18"):
        load_checkpoint(path, arch="resnet18")
    with pytest.raises(ModelError, match="D is 0"):
        load_checkpoint(path, D=0)


def test_half_precision_is_widened(state: State, tmp_path: Path) -> None:
    for dtype, name in ((torch.float16, "float16"), (torch.bfloat16, "bfloat16")):
        half = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
        loaded, info = load_checkpoint(save(half, tmp_path))
        assert_same(loaded, {k: v.float() if k in floats(state) else v for k, v in half.items()})
        assert {p.dtype for p in loaded.parameters()} == {torch.float32}
        assert f"the weights are {name} in the file and were widened" in info.notices


def floats(state: State) -> set[str]:
    return {name for name, tensor in state.items() if tensor.is_floating_point()}


def test_one_double_makes_the_network_double(state: State, tmp_path: Path) -> None:
    state["head.bias"] = state["head.bias"].double() / 3
    loaded, _ = load_checkpoint(save(state, tmp_path))
    assert {p.dtype for p in loaded.parameters()} == {torch.float64}
    assert torch.equal(loaded.state_dict()["head.bias"], state["head.bias"])
    loaded(torch.zeros(1, 3, 16, 16, dtype=torch.float64))


def test_loaded_network_can_be_trained_on(state: State, tmp_path: Path) -> None:
    loaded, _ = load_checkpoint(save(state, tmp_path))
    loaded.train()(torch.zeros(2, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


def test_counters_and_profiler_leftovers_do_not_matter(state: State, tmp_path: Path) -> None:
    kept = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    extra = {"total_ops": torch.zeros(1), "block3.0.total_params": torch.zeros(1)}
    loaded, _ = load_checkpoint(save(kept | extra, tmp_path))
    assert_same(loaded, state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: without(s, KERNEL),
            rf"no entry {KERNEL}, expected one of shape \(8, 8, 1, 1\)",
        ),
        (lambda s: without(s, "head.weight"), r"no entry head\.weight"),
        (lambda s: without(s, "downsample4.encode_conv.weight"), "this is no E-SpikeFormer"),
        (
            lambda s: s | {KERNEL: torch.zeros(8, 9, 1, 1)},
            rf"{KERNEL} has shape \(8, 9, 1, 1\), expected \(8, 8, 1, 1\)",
        ),
        (
            lambda s: s | {"head.bias": torch.zeros(4)},
            r"head\.bias has shape \(4,\), expected \(3,\)",
        ),
        (lambda s: s | {"head.weight": torch.zeros(3)}, r"head\.weight has shape \(3,\)"),
        (lambda s: s | {"head.weight": torch.zeros(0, 8)}, r"head\.weight has shape \(0, 8\)"),
        (
            lambda s: s | {"block3.0.layer_scale1": torch.zeros(8)},
            r"entry block3\.0\.layer_scale1 belongs to no layer",
        ),
        (
            lambda s: s | {"block3.7.attn.q_conv.0.weight": torch.zeros(8, 8, 1, 1)},
            r"no entry block3\.1\.conv\.pwconv1\.0\.weight.* and \d+ more entries",
        ),
        (lambda s: s | {"x\x1b": torch.zeros(1)}, r"entry x\\x1b belongs to no layer"),
        (lambda s: s | {KERNEL: s[KERNEL].to(torch.int8)}, rf"{KERNEL} holds torch\.int8"),
        (lambda s: s | {KERNEL: s[KERNEL] / 0}, rf"{KERNEL} has values that are not finite"),
        (lambda s: s | {"head.bias": torch.full((3,), torch.nan)}, r"head\.bias has values"),
        (
            lambda s: s | {"head.bias": torch.zeros(1).expand(3)},
            "more elements than its storage",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    change: Callable[[State], object], message: str, state: State, tmp_path: Path
) -> None:
    path = save(change(state), tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert caught.value.where == str(path)
    assert caught.value.fix


def without(state: State, missing: str) -> State:
    return {name: tensor for name, tensor in state.items() if name != missing}


def test_flipped_bits_give_a_network_or_one_error(state: State, tmp_path: Path) -> None:
    buffer, source = BytesIO(), random.Random(4)
    torch.save({"model": state}, buffer, _use_new_zipfile_serialization=False)
    content, path = buffer.getvalue(), tmp_path / "x.pth"
    names = content.index(b"head.bias")
    refused = 0
    for _ in range(40):
        damaged = bytearray(content)
        damaged[source.randrange(names)] ^= 1 << source.randrange(8)
        path.write_bytes(damaged)
        try:
            load_checkpoint(path)
        except CheckpointError:
            refused += 1
    assert refused
