"""Checkpoints of the official detector: whole pickled modules, read without running anything."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from spike_yolo_golden import (
    assert_predictions,
    digests,
    read_record,
    recorded_input,
    write_official_checkpoint,
)

from s2f_models import CheckpointError, SpikeYoloConfig, load_checkpoint, record_counts
from s2f_models.pickled_module import attributes, children, read_module
from s2f_models.stand_in import Named, RefusedError, StandIn
from s2f_models.state_dict import find_state_dict
from s2f_models.torch_file import read_torch_file
from s2f_models.ultralytics_file import describe

Root = dict[str, Any]
MODULES = "ultralytics.nn.modules.yolo_spikformer"


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_official_checkpoint(tmp_path_factory.mktemp("official"))


@pytest.fixture
def root(official: Path) -> Root:
    """What is in the file, free to be changed."""
    content = read_torch_file(official).root
    assert isinstance(content, dict)
    return content


def test_official_file_gives_the_official_predictions(official: Path) -> None:
    record = read_record("tiny_ultralytics")
    model, info = load_checkpoint(official)
    assert (info.arch, info.container, info.D, info.T) == ("custom", "model", 4, 1)
    assert not info.D_assumed
    assert info.classes == ("circle", "square", "cross")
    assert info.image_size == 64
    assert info.notices == ("the weights are float16 in the file and were widened",)
    assert (info.config.num_classes, info.config.task) == (3, "detection")
    assert sum(parameter.numel() for parameter in model.parameters()) == record["parameters"]
    assert not model.training
    with torch.inference_mode(), record_counts(model.double()) as counts:
        pred = model(recorded_input(record))
    assert digests(counts, 1) == record["neurons"]
    assert_predictions(pred, record)


def test_given_levels_and_steps_win(official: Path) -> None:
    model, info = load_checkpoint(official, D=2, T=3)
    assert (info.D, info.T, info.D_assumed) == (2, 3, False)
    assert (model.config.levels, model.config.timesteps) == (2, 3)


def every(module: StandIn, name: str) -> Iterator[StandIn]:
    """Stand-ins of one class inside a module."""
    return (part for part in read_module(module).modules if part.named.name == name)


def described(root: Root) -> tuple[SpikeYoloConfig, Any]:
    weights = find_state_dict(root)
    assert weights.module is not None
    said = describe(weights.module, root)
    assert isinstance(said.config, SpikeYoloConfig)
    return said.config, said


def test_averaged_weights_are_preferred(root: Root) -> None:
    root["ema"] = root["model"]
    weights = find_state_dict(root)
    assert (weights.container, weights.unused) == ("ema", ("model",))
    assert find_state_dict(root["model"]).container == ""


@pytest.mark.parametrize("levels", [1, 2, 8])
def test_levels_are_in_the_name_of_the_quantiser(root: Root, levels: int) -> None:
    for neuron in every(root["model"], "mem_update"):
        children(neuron)["qtrick"] = StandIn(Named(MODULES, f"MultiSpike{levels}"), ())
    assert described(root)[1].levels == levels


def test_ratio_of_the_last_block_is_in_the_table(root: Root) -> None:
    yaml_of(root)["head"][15][3][0] = 2
    assert described(root)[0].table[25].args == (2, 7)


def test_published_scale_has_its_name(root: Root) -> None:
    yaml = yaml_of(root)
    yaml["scales"] = {"n": [0.33, 0.375, 1024], "s": [0.33, 0.5, 1024]}
    assert described(root)[1].arch == "spike_yolo_n"
    yaml["scale"] = "s"
    assert described(root)[1].arch == "spike_yolo_s"
    yaml["backbone"][0][3][1] = 4
    assert described(root)[0].timesteps == 4
    assert described(root)[1].arch == "spike_yolo_s"


def as_gen1(root: Root, **said: object) -> None:
    """The file with the other neuron, as the Gen1 copy of the code pickles it."""
    named = Named("spikingjelly.clock_driven.neuron", "MultiStepLIFNode")
    surrogate = StandIn(Named("spikingjelly.clock_driven.surrogate", "Sigmoid"), (), {})
    for neuron in every(root["model"], "mem_update"):
        neuron.named = named
        neuron.state = {"_modules": {"surrogate_function": surrogate}, "tau": 2.0, **said}


def test_event_neuron_does_not_say_its_levels(root: Root) -> None:
    as_gen1(root, v_reset=None, decay_input=True, v_threshold=1.0)
    config, said = described(root)
    assert (config.variant, config.timesteps) == ("gen1", 2)
    assert (said.levels, said.timesteps, said.must_give_levels) == (None, None, True)


@pytest.mark.parametrize("said", [{"tau": 4.0}, {"v_reset": 0.0}, {"decay_input": False}])
def test_other_event_neuron_is_refused(root: Root, said: dict[str, object]) -> None:
    as_gen1(root, **said)
    with pytest.raises(RefusedError, match=f"a neuron of the file has {next(iter(said))}"):
        described(root)


def test_gen1_file_asks_for_levels(
    official: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_gen1(root)
    file = read_torch_file(official)
    monkeypatch.setattr("s2f_models.checkpoint.read_torch_file", lambda _: file)
    monkeypatch.setattr("s2f_models.checkpoint.find_state_dict", lambda _: find_state_dict(root))
    with pytest.raises(CheckpointError, match="the largest count of its neurons, is not in") as e:
        load_checkpoint(official)
    assert "pass D (--levels on the command line)" in e.value.fix
    model, info = load_checkpoint(official, D=4)
    assert (info.D, info.T, model.config.input_shape(32, 32)) == (4, 2, (1, 2, 3, 32, 32))
    assert any("the file does not say T; 2 time steps assumed" in n for n in info.notices)
    _, info = load_checkpoint(official, D=4, T=5)
    assert not any("say T" in notice for notice in info.notices)


Change = Callable[[Root], None]


def yaml_of(root: Root) -> dict[Any, Any]:
    yaml = attributes(root["model"])["yaml"]
    assert isinstance(yaml, dict)
    return yaml


def first(root: Root, name: str) -> StandIn:
    return next(every(root["model"], name))


def contain_itself(root: Root) -> None:
    block = first(root, "SepConv")
    children(block)["again"] = block


def multiply(root: Root) -> None:
    """Sixteen doublings: few objects, 65,536 places."""
    module = first(root, "SepConv")
    for _ in range(16):
        named = Named("torch.nn.modules.container", "Sequential")
        module = StandIn(named, (), {"_modules": {"a": module, "b": module}})
    children(root["model"])["more"] = module


def set_norm(root: Root, key: str, value: object) -> None:
    attributes(first(root, "BatchNorm2d"))[key] = value


def set_qtrick(root: Root, name: str) -> None:
    children(first(root, "mem_update"))["qtrick"] = StandIn(Named(MODULES, name), ())


def doubled_list() -> list[object]:
    """Its text would have 2**60 parts."""
    value: list[object] = []
    for _ in range(60):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(contain_itself, id="cycle"),
        pytest.param(multiply, id="shared modules"),
        pytest.param(lambda r: set_norm(r, "eps", 1e-5), id="eps"),
        pytest.param(lambda r: set_norm(r, "eps", doubled_list()), id="huge eps"),
        pytest.param(lambda r: set_norm(r, "_parameters", {"weight": 1}), id="no tensor"),
        pytest.param(lambda r: set_norm(r, "_parameters", {"a.b": None}), id="gone"),
        pytest.param(lambda r: set_norm(r, "_modules", {"a": 1}), id="no module"),
        pytest.param(lambda r: set_norm(r, "_modules", {"a.b": first(r, "Conv2d")}), id="path"),
        pytest.param(lambda r: set_norm(r, "_modules", {1: first(r, "Conv2d")}), id="number"),
        pytest.param(lambda r: set_norm(r, "_modules", {"x" * 999: first(r, "Conv2d")}), id="long"),
        pytest.param(lambda r: set_norm(r, "_buffers", []), id="no buffers"),
        pytest.param(lambda r: set_qtrick(r, "MultiSpike2"), id="two D"),
        pytest.param(lambda r: set_qtrick(r, "MultiSpike"), id="no D"),
        pytest.param(lambda r: set_qtrick(r, "MultiSpike999"), id="large D"),
        pytest.param(lambda r: children(first(r, "mem_update")).clear(), id="no quantiser"),
        pytest.param(
            lambda r: setattr(first(r, "mem_update"), "named", Named("a", "MultiStepLIFNode")),
            id="two kinds",
        ),
        pytest.param(lambda r: attributes(r["model"]).pop("yaml"), id="no table"),
        pytest.param(lambda r: yaml_of(r).pop("scales"), id="no scales"),
        pytest.param(lambda r: yaml_of(r).update(scale="huge"), id="unknown scale"),
        pytest.param(lambda r: yaml_of(r)["scales"].update(n=[1, 1e9, 1024]), id="wide"),
        pytest.param(lambda r: yaml_of(r)["scales"].update(n=[float("nan"), 1, 9]), id="nan"),
        pytest.param(lambda r: yaml_of(r)["scales"].update(n=[1, 1e-9, 1024]), id="narrow"),
        pytest.param(lambda r: yaml_of(r)["scales"].update(n=[16, 1, 1024]), id="deep"),
        pytest.param(lambda r: yaml_of(r).update(ch=0), id="no colours"),
        pytest.param(lambda r: yaml_of(r).update(ch="3"), id="colours as text"),
        pytest.param(lambda r: yaml_of(r)["backbone"].pop(), id="short table"),
        pytest.param(lambda r: yaml_of(r)["backbone"][2][3].__setitem__(0, 3), id="other ratio"),
        pytest.param(lambda r: yaml_of(r)["scales"].update(n=[0.33, 0.125, 1024]), id="widths"),
        pytest.param(lambda r: attributes(r["model"]).update(names={0: "a", 1: "b"}), id="names"),
        pytest.param(lambda r: attributes(r["model"]).update(names={"a": 1}), id="odd names"),
        pytest.param(lambda r: r["model"].__setattr__("state", None), id="no state"),
        pytest.param(lambda r: r.update(model=None), id="no model"),
        pytest.param(
            lambda r: setattr(r["model"], "named", Named("ultralytics.nn.tasks", "PoseModel")),
            id="other model",
        ),
    ],
)
def test_contradiction_is_one_error(
    change: Change, official: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(root)
    file = read_torch_file(official)
    monkeypatch.setattr("s2f_models.checkpoint.read_torch_file", lambda _: file)
    monkeypatch.setattr("s2f_models.checkpoint.find_state_dict", lambda _: find_state_dict(root))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(official)
    assert caught.value.fix
    assert len(str(caught.value)) < 1000


def test_settings_of_the_run_may_be_missing(root: Root) -> None:
    del root["train_args"]
    assert described(root)[1].image_size == 64
    attributes(root["model"])["args"] = None
    assert described(root)[1].image_size is None


def test_walk_is_in_the_order_of_registration(root: Root) -> None:
    model, _ = describe_and_build(root)
    assert list(find_state_dict(root).tensors) == [
        name.removeprefix("model.") for name in model.state_dict()
    ]


def describe_and_build(root: Root) -> tuple[torch.nn.Module, SpikeYoloConfig]:
    config, _ = described(root)
    with torch.device("meta"):
        return config.build(), config


def test_unknown_class_outside_of_the_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"model": Evil()}, path)
    with pytest.raises(CheckpointError, match=r"names posix\.system, which this reader never"):
        load_checkpoint(path)
    assert not (tmp_path / "sentinel").exists()


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        import os  # noqa: PLC0415

        return os.system, ("touch sentinel",)
