"""The reference runs of the official Spike2Former code in ``golden/spike2former``."""

import hashlib
import json
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from golden_weights import GOLDEN, golden_image, golden_tensor
from torch import Tensor, nn

from s2f_models import Spike2FormerConfig

FOLDER = GOLDEN / "spike2former"
Neurons = list[list[object]]

# Small, of widths no published network has, for what needs no golden run.
TINY = Spike2FormerConfig(
    embed_dims=(8, 8, 8, 16),
    depths=(1, 1),
    num_heads=2,
    num_classes=3,
    num_queries=5,
    channels=16,
    groups=4,
    encoder_layers=1,
    decoder_layers=2,
    decoder_hidden=32,
)


def read_record(name: str) -> dict[str, Any]:
    """The record of one reference run."""
    record: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return record


def recorded_config(record: dict[str, Any]) -> Spike2FormerConfig:
    """The network of a reference run."""
    said = record["config"]
    return Spike2FormerConfig(
        backbone=said["backbone"],
        embed_dims=tuple(said["embed_dim"]),
        num_heads=said["decoder_heads"],
        num_classes=said["num_classes"],
        num_queries=said["num_queries"],
        channels=said["feat_channels"],
        groups=said["dcn_groups"],
        mlp_ratio=said["encoder_ffn"] // said["feat_channels"],
        encoder_layers=said["encoder_layers"],
        decoder_layers=said["decoder_layers"],
        decoder_hidden=said["decoder_ffn"],
        levels=said["D"],
        norm=said["Norm"],
    )


def entries_digest(model: nn.Module) -> str:
    """Of all names and shapes of a state dict, in order."""
    entries = [[name, list(x.shape)] for name, x in model.state_dict().items()]
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def fill(model: nn.Module, record: dict[str, Any]) -> None:
    """Put the golden weights into ``model``, which becomes a float64 network in eval mode."""
    weights = {
        name: torch.tensor(0)
        if name.endswith("num_batches_tracked")
        else torch.from_numpy(golden_tensor(name, tuple(x.shape), _gain(record, name)))
        for name, x in model.state_dict().items()
    }
    model.load_state_dict(weights, assign=True)
    model.double().eval()


def _gain(record: dict[str, Any], name: str) -> float:
    gains = (gain for pattern, gain in record["gains"] if fnmatchcase(name, pattern))
    gain: float = next(gains, record["gain"])
    return gain


def recorded_image(record: dict[str, Any]) -> Tensor:
    """The input of a reference run, float64."""
    given = record["input"]
    return torch.from_numpy(golden_image(tuple(given["shape"]), given["seed"]))


def digests(counts: dict[str, Tensor], layers: int = 0, batch: int = 1, times: int = 1) -> Neurons:
    """Path, shape and hash of what every neuron emitted, as upstream has it.

    Args:
        counts: as ``record_counts`` gives them.
        layers: predictions that the neurons of the head are stacked for, one after the other.
        batch: images.
        times: time steps of upstream's, which are all equal.
    """
    found: Neurons = []
    for path, fired in counts.items():
        head = path.removeprefix("decode_head.").partition(".")[0]
        stacked = layers and head not in ("pixel_decoder", "transformer_decoder", "backbone")
        shape = (layers, 1, batch) if stacked else (1, batch)
        whole = fired.reshape(*shape, *fired.shape[1:])
        whole = torch.cat([whole] * times, len(shape) - 2)
        digest = hashlib.sha256(whole.contiguous().numpy().tobytes()).hexdigest()[:32]
        found.append([path, list(whole.shape), digest])
    return found


def assert_recorded(found: Tensor, record: dict[str, Any], name: str) -> None:
    """An output has the recorded sums, and single values to 1e-9."""
    _, shape, total, absolute, digest = next(a for a in record["arrays"] if a[0] == name)
    assert list(found.shape) == shape
    np.testing.assert_allclose(found.sum(dtype=torch.float64).item(), total, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.abs().sum().item(), absolute, rtol=1e-12)
    for key, index, value in record.get("samples", ()):
        if key == name:
            assert abs(found[tuple(index)].item() - value) < 1e-9
    if digest:
        content = found.to(torch.uint8).contiguous().numpy().tobytes()
        assert hashlib.sha256(content).hexdigest() == digest


def let_fire(model: nn.Module, seed: int = 0) -> None:
    """Statistics and factors with which the neurons of a fresh network fire, in eval mode."""
    torch.manual_seed(seed)
    for name, tensor in model.state_dict().items():
        kind = name.rpartition(".")[2]
        if kind == "running_mean":
            nn.init.normal_(tensor, 0, 0.1)
        elif kind == "running_var":
            nn.init.uniform_(tensor, 0.05, 0.2)
        elif kind.startswith("gamma"):
            nn.init.uniform_(tensor, 0.5, 1.5)
        elif kind == "bias":
            nn.init.normal_(tensor, 0.3, 0.3)
        elif ".dcn.offset.0." in name or ".dcn.mask.0." in name or ".mask_embed.fc" in name:
            nn.init.normal_(tensor, 0, 0.5)
        elif ".query_feat." in name:
            # What the image says must be able to turn a sign.
            nn.init.normal_(tensor, 0, 0.3)
    model.eval()
