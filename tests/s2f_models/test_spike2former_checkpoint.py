"""Files that the official Spike2Former code wrote, or that pretend to be such."""

import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from spike2former_golden import TINY, let_fire
from torch import Tensor, nn

from s2f_models import CheckpointError, ModelError, Spike2FormerConfig, create, load_checkpoint
from s2f_models.architecture import infer_config
from s2f_models.registry import CONFIGS
from s2f_models.segmentation_classes import data_set_of, data_sets
from s2f_models.spike2former_shapes import renamed
from s2f_models.stand_in import RefusedError
from s2f_models.state_dict import bare_name

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
# A state dict does not say heads.
WIDE = replace(TINY, num_heads=8)
NAMES = ["river", "road", "roof"]
COLOURS = [[0, 0, 255], [128, 128, 128], [255, 0, 0]]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    made = WIDE.build()
    let_fire(made)
    return made


def shapes_of(model: nn.Module) -> Shapes:
    return {bare_name(name): tuple(x.shape) for name, x in model.state_dict().items()}


def shapes(name: str, **changes: Any) -> Shapes:
    with torch.device("meta"):
        return shapes_of(create(name, **changes))


def history_buffer(monkeypatch: pytest.MonkeyPatch) -> object:
    """A training curve as MMEngine has it: numpy arrays, and methods in a dictionary."""

    class HistoryBuffer:
        def min(self) -> float:
            return 0.0

    where = "mmengine.logging.history_buffer"
    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = where, "HistoryBuffer"
    HistoryBuffer.min.__module__, HistoryBuffer.min.__qualname__ = where, "HistoryBuffer.min"
    for name in ("mmengine", "mmengine.logging", where):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules[where], "HistoryBuffer", HistoryBuffer, raising=False)
    buffer = HistoryBuffer()
    buffer.__dict__ |= {
        "max_length": 10,
        "_log_history": np.array([0.5, 0.25]),
        "_count_history": np.array([1, 1]),
        "statistics_methods": {"min": HistoryBuffer.min},
    }
    return buffer


def saved(state: State, folder: Path, dataset_meta: object = None, **others: object) -> Path:
    meta: dict[str, object] = {
        "cfg": "model = dict(type='EncoderDecoder', T=1)",
        "iter": 160_000,
        "seed": np.int64(1),
        "time": "20241219_101112",
        "experiment_name": "spike2former",
        "mmengine_version": "0.8.4",
        "hook_msgs": {"best_score": np.float32(46.3)},
    }
    if dataset_meta is not None:
        meta["dataset_meta"] = dataset_meta
    path = folder / "best_mIoU_iter_160000.pth"
    torch.save({"meta": meta, "state_dict": OrderedDict(state), **others}, path)
    return path


@pytest.mark.parametrize("legacy", [False, True])
def test_official_file_is_read(
    model: nn.Module, legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = {"log_scalars": OrderedDict(loss=history_buffer(monkeypatch)), "runtime_info": {}}
    optimizer = torch.optim.AdamW(model.parameters()).state_dict()
    said = {"classes": tuple(NAMES), "palette": COLOURS, "reduce_zero_label": True}
    path = saved(model.state_dict(), tmp_path, said, message_hub=hub, optimizer=optimizer)
    assert b"builtin__\ngetattr\n" in path.read_bytes()
    if legacy:
        content = torch.load(path, weights_only=False)
        torch.save(content, path, _use_new_zipfile_serialization=False)
    loaded, info = load_checkpoint(path, D=4)
    assert (info.container, info.arch, info.config) == ("state_dict", "custom", WIDE)
    assert (info.D, info.D_assumed, info.T) == (4, False, 1)
    assert info.classes == tuple(NAMES)
    assert info.palette == tuple(map(tuple, COLOURS))
    assert any("does not say heads: 8 assumed" in text for text in info.notices)
    image = torch.randn(1, 3, 32, 48)
    with torch.inference_mode():
        for found, wanted in zip(loaded(image), model(image), strict=True):
            assert torch.equal(found, wanted)


def test_levels_norm_and_offsets_are_the_callers(model: nn.Module, tmp_path: Path) -> None:
    path = saved(model.state_dict(), tmp_path)
    _, info = load_checkpoint(path)
    assert (info.D, info.D_assumed, info.classes, info.palette) == (4, True, None, None)
    assert any("does not say D; 4 assumed" in text for text in info.notices)
    loaded, info = load_checkpoint(path, D=8, norm=4, offset_bits=6)
    assert loaded.config == info.config == replace(WIDE, levels=8, norm=4, offset_bits=6)
    assert (info.D, info.D_assumed) == (8, False)
    wanted = info.config.build().eval()
    wanted.load_state_dict(model.state_dict())
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(image)[0], wanted(image)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"T": 4}, "has no T to choose: more time steps only repeat the image"),
        ({"norm": 0}, "norm is 0"),
        ({"norm": 256}, "norm is 256"),
        ({"offset_bits": 17}, "offset_bits is 17"),
        ({"offset_bits": -1}, "offset_bits is -1"),
    ],
)
def test_impossible_argument_is_refused(
    model: nn.Module, arguments: dict[str, int], message: str, tmp_path: Path
) -> None:
    path = saved(model.state_dict(), tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        load_checkpoint(path, **arguments)  # type: ignore[arg-type]
    assert not isinstance(caught.value, CheckpointError)


def test_file_of_many_time_steps_is_refused_with_the_reason(
    model: nn.Module, tmp_path: Path
) -> None:
    torch.save({"state_dict": model.state_dict(), "T": 4}, path := tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"the file's 'T'.*gives the same bits"):
        load_checkpoint(path)
    torch.save({"state_dict": model.state_dict(), "T": 1, "D": 8}, path)
    assert load_checkpoint(path)[1].D == 8


def test_other_networks_have_no_norm(tmp_path: Path) -> None:
    classifier = create("e_spikeformer_cifar10", embed_dims=(4, 4, 8, 8), depths=(1, 1))
    torch.save({"model": classifier.state_dict(), "D": 4}, path := tmp_path / "net.pth")
    with pytest.raises(ModelError, match="custom has no norm to choose"):
        load_checkpoint(path, norm=4)


def test_later_release_names_one_mlp_otherwise(model: nn.Module, tmp_path: Path) -> None:
    places = {"fc1": "0", "fc2": "2", "fc_out": "4"}
    state = {
        name.replace(f"mask_embed.{new}", f"mask_embed.{old}"): tensor
        for name, tensor in model.state_dict().items()
        for new, old in [next((p for p in places.items() if p[0] in name), ("-", "-"))]
    }
    assert "decode_head.mask_embed.4.bias" in state
    loaded, _ = load_checkpoint(saved(state, tmp_path), D=4)
    found, wanted = loaded.state_dict(), model.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    # Both names at once are not taken for one.
    both = {"decode_head.mask_embed.0.weight": 1, "decode_head.mask_embed.fc1.weight": 2}
    assert renamed(both) == both


SEGMENTERS = [name for name in CONFIGS if name.startswith("spike2former")]


@pytest.mark.parametrize("name", SEGMENTERS)
def test_published_network_is_recognised(name: str) -> None:
    published = CONFIGS[name]
    assert isinstance(published, Spike2FormerConfig)
    found = infer_config(shapes(name), published.named_classes)
    assert found == (name, published, ())


@pytest.mark.parametrize("version", ["", "_v3"])
def test_network_of_two_data_sets_is_told_by_its_classes(version: str) -> None:
    """VOC networks have the outputs of ADE20K."""
    unnamed = shapes(f"spike2former_voc{version}")
    name, config, notices = infer_config(unnamed)
    assert name == f"spike2former_ade20k{version}"
    assert isinstance(config, Spike2FormerConfig)
    assert config.live_classes is None
    (notice,) = notices
    assert f"{name} and spike2former_voc{version} have the same shapes" in notice
    assert infer_config(unnamed, 21)[0] == f"spike2former_voc{version}"


def test_everything_a_state_dict_shows_is_inferred() -> None:
    config = Spike2FormerConfig(
        "sdtv3",
        (16, 24, 32, 48),
        (1, 3),
        in_channels=2,
        num_classes=12,
        num_queries=20,
        channels=48,
        groups=8,
        mlp_ratio=3,
        encoder_layers=2,
        decoder_layers=4,
        decoder_hidden=100,
    )
    for known in (config, replace(config, backbone="sdtv2")):
        with torch.device("meta"):
            inferred = infer_config(shapes_of(known.build()))
        assert inferred[:2] == ("custom", known)
        assert infer_config(shapes_of(inferred[1].build()), 5)[1] == replace(known, live_classes=5)


Change = Callable[[Shapes], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update({"decode_head.cls_embed.weight": (1, 256)}), "no object"),
        (lambda s: s.update({"decode_head.cls_embed.weight": ()}), "has shape"),
        (lambda s: s.update({"decode_head.query_feat.weight": (100, 2**40)}), "has shape"),
        (lambda s: s.update({"decode_head.query_feat.weight": (100, 36)}), "do not divide"),
        (lambda s: s.pop("downsample3.encode_conv.weight"), "so this is no Spike2Former"),
        (
            lambda s: s.pop("decode_head.pixel_decoder.encoder.layers.0.dcn.mask.0.weight"),
            "so this is no Spike2Former",
        ),
    ],
)
def test_senseless_shapes_are_refused(change: Change, message: str) -> None:
    changed = shapes("spike2former_ade20k")
    change(changed)
    with pytest.raises(RefusedError, match=message):
        infer_config(changed)


@pytest.mark.parametrize(
    "missing",
    [
        "decode_head.w",
        "decode_head.pixel_decoder.encoder.layers.0.gamma2",
        "backbone.block4.0.attn",
    ],
)
def test_incomplete_file_is_refused_by_the_name_of_the_entry(
    model: nn.Module, missing: str, tmp_path: Path
) -> None:
    state = {k: v for k, v in model.state_dict().items() if not k.startswith(missing)}
    with pytest.raises(CheckpointError, match=f"no entry {missing.removeprefix('backbone.')}"):
        load_checkpoint(saved(state, tmp_path), D=4)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"classes": ["a", "b", "c", "d"]}, "no list of 3 printable names"),
        ({"classes": ["a", "b", "\x1b[31m"]}, "no list of 3 printable names"),
        ({"classes": "abc"}, "no list of 3 printable names"),
        ({"classes": []}, "no list of 3 printable names"),
        ({"classes": NAMES, "palette": COLOURS[:2]}, "2 colours for 3 classes"),
        ({"classes": NAMES, "palette": [*COLOURS[:2], [0, 0, 256]]}, "not three bytes"),
        ({"classes": NAMES, "palette": [*COLOURS[:2], [0, 0, 1.5]]}, "not three bytes"),
        ({"classes": NAMES, "palette": [*COLOURS[:2], [0, True, 1]]}, "not three bytes"),
        ({"classes": NAMES, "palette": [*COLOURS[:2], 7]}, "not three bytes"),
        ({"classes": NAMES, "palette": "red"}, "is no list"),
    ],
)
def test_senseless_classes_are_refused(
    model: nn.Module, said: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved(model.state_dict(), tmp_path, said), D=4)


def test_classes_that_are_not_named_are_dead(model: nn.Module, tmp_path: Path) -> None:
    path = saved(model.state_dict(), tmp_path, {"classes": NAMES[:2]})
    _, info = load_checkpoint(path, D=4)
    assert info.config == replace(WIDE, live_classes=2)
    assert (info.classes, info.palette) == (("river", "road"), None)


@pytest.mark.parametrize("said", [[], 3, {"classes": None, "palette": None}, {}])
def test_file_may_name_nothing(model: nn.Module, said: object, tmp_path: Path) -> None:
    _, info = load_checkpoint(saved(model.state_dict(), tmp_path, said), D=4)
    assert (info.classes, info.palette) == (None, None)


def test_unnamed_classes_are_those_of_the_data_set(tmp_path: Path) -> None:
    small = replace(WIDE, num_classes=19).build()
    _, info = load_checkpoint(saved(small.state_dict(), tmp_path), D=4)
    cityscapes = data_sets()["cityscapes"]
    assert (info.classes, info.palette) == (cityscapes.classes, cityscapes.palette)
    assert any("those of cityscapes assumed" in text for text in info.notices)
    said = {"classes": list("abcdefghijklmnopqrs")}
    _, info = load_checkpoint(saved(small.state_dict(), tmp_path, said), D=4)
    assert (info.classes, info.palette) == (tuple(said["classes"]), cityscapes.palette)
    assert not any("cityscapes" in text for text in info.notices)


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [("ade20k", 150, "wall"), ("cityscapes", 19, "road"), ("voc2012", 21, "background")],
)
def test_data_sets_have_a_name_and_a_colour_for_every_class(
    name: str, count: int, first: str
) -> None:
    known = data_sets()[name]
    assert known is data_set_of(count)
    assert (len(known.classes), len(known.palette), known.classes[0]) == (count, count, first)
    assert all(len(c) == 3 and all(0 <= part <= 255 for part in c) for c in known.palette)
    assert data_set_of(171) is None


class Calls:
    """Pickles as a call of what another object gives."""

    def __init__(self, function: object, *args: object) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return self.function, self.args


class Method:
    """Pickles as ``getattr(owner, name)``."""

    def __init__(self, owner: object, name: str) -> None:
        self.owner, self.name = owner, name

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return getattr, (self.owner, self.name)

    def __call__(self) -> None:
        """What pickle asks of whatever it is to call."""


@pytest.mark.parametrize(
    "hostile",
    [
        Method(OrderedDict, "__init__"),
        Method(OrderedDict, "_private"),
        Method(OrderedDict, "a.b"),
        Method("text", "join"),
        Method(Method(OrderedDict, "fromkeys"), "join"),
        Calls(Method(OrderedDict, "fromkeys"), "ab"),
    ],
)
def test_attributes_of_classes_are_names_and_nothing_else(
    model: nn.Module, hostile: object, tmp_path: Path
) -> None:
    path = saved(model.state_dict(), tmp_path, message_hub={"curve": hostile})
    with pytest.raises(CheckpointError, match=r"never runs|calls something that is no class"):
        load_checkpoint(path, D=4)
