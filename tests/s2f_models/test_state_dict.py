from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from s2f_models.stand_in import RefusedError
from s2f_models.state_dict import StateDict, find_state_dict
from s2f_models.torch_file import read_torch_file

State = dict[str, Tensor]

STATE = {"head.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.ones(2)}


def find(value: object, tmp_path: Path) -> StateDict:
    path = tmp_path / "ckpt.pth"
    torch.save(value, path)
    return find_state_dict(read_torch_file(path).root)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("saved", "container"),
    [
        (STATE, ""),
        ({"model": STATE, "optimizer": {}, "epoch": 7, "scaler": {}}, "model"),
        ({"state_dict": STATE, "meta": {"epoch": 1}}, "state_dict"),
        ({"model_ema": STATE}, "model_ema"),
        ({"model_ema": {"module": STATE, "decay": 0.9}}, "model_ema.module"),
        ({"model": {"state_dict": STATE}}, "model.state_dict"),
        ({"model": nn.Linear(1, 1), "state_dict": STATE}, "state_dict"),
        (prefixed(STATE, "module."), ""),
        ({"state_dict": prefixed(STATE, "backbone.")}, "state_dict"),
        ({"model": prefixed(STATE, "module.model.backbone.")}, "model"),
        (nn.ModuleDict({"head": nn.Linear(3, 2)}).state_dict(), ""),
    ],
)
def test_every_container_is_read(saved: object, container: str, tmp_path: Path) -> None:
    found = find(saved, tmp_path)
    assert (found.container, found.unused) == (container, ())
    assert found.shapes == {"head.weight": (2, 3), "head.bias": (2,)}


def test_plain_weights_are_preferred_to_averaged_ones(tmp_path: Path) -> None:
    averaged = prefixed({name: tensor + 1 for name, tensor in STATE.items()}, "module.")
    found = find({"model_ema": averaged, "state_dict": averaged, "model": STATE}, tmp_path)
    assert found.container == "model"
    assert found.unused == ("state_dict", "model_ema")
    assert torch.equal(found.tensors["head.weight"].read(), STATE["head.weight"])


def test_profiler_leftovers_are_dropped(tmp_path: Path) -> None:
    extra = {"total_ops": torch.zeros(1), "block3.0.total_params": torch.zeros(1)}
    assert list(find(STATE | extra, tmp_path).tensors) == list(STATE)


def test_long_prefix_takes_no_time(tmp_path: Path) -> None:
    found = find({"module." * 200_000 + "head.bias": torch.ones(2)}, tmp_path)
    assert list(found.tensors) == ["head.bias"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"head.bias": "0"}, r"entry head\.bias of the state dict is no tensor"),
        (lambda s: {**s, 3: torch.zeros(1)}, "entry int of the state dict is no tensor"),
        (
            lambda s: s | {"model.head.bias": torch.zeros(2)},
            r"two entries are called head\.bias",
        ),
        (
            lambda _: {"model": {}},
            "no state dict in here, but a dictionary with the keys model",
        ),
        (lambda _: {}, r"the keys \(none\)"),
        (lambda s: [s], "an object of type list"),
        (lambda _: torch.zeros(3), "an object of type StoredTensor"),
        (
            lambda _: nn.Linear(1, 1),
            r"whole pickled object of class torch\.nn\.modules\.linear",
        ),
        (lambda _: {"ema": nn.Linear(1, 1)}, "whole pickled object of class"),
        (lambda _: {"rng": torch.zeros(3), "epoch": 1}, "the keys rng, epoch"),
    ],
)
def test_file_without_a_state_dict_is_refused(
    change: Callable[[State], object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match=message):
        find(change(STATE), tmp_path)
