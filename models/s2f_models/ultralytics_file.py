"""What a checkpoint of the official SpikeYOLO code, a whole pickled module, says of itself."""

import re
from collections.abc import Mapping
from dataclasses import replace

from s2f_models.description import Description
from s2f_models.errors import shown
from s2f_models.layer_table import read_table
from s2f_models.pickled_module import PickledModule, attributes, children
from s2f_models.registry import CONFIGS
from s2f_models.spike_yolo import SpikeYoloConfig, Variant
from s2f_models.spike_yolo_blocks import NORM_EPSILON
from s2f_models.stand_in import RefusedError, StandIn

_FIX = "give a checkpoint of the official SpikeYOLO code"
_QUANTISER = re.compile(r"MultiSpike([1-9][0-9]{0,2})")
_IMAGE_NEURON, _EVENT_NEURON = "mem_update", "MultiStepLIFNode"
# What makes upstream's neuron the one that is built here.
_EVENT_NEURON_HAS = {"tau": 2, "v_reset": None, "decay_input": True}
_MAX_FACTOR, _MAX_CHANNELS, _MAX_SIDE = 16, 1 << 16, 1 << 16
_MAX_BLOCKS = 256


def describe(module: PickledModule, root: object) -> Description:
    """Layers, neuron, classes and image size.

    Args:
        module: the network.
        root: the whole file, which may hold the settings of the training run.

    Raises:
        RefusedError: it is no SpikeYOLO, or one whose parts contradict each other.
    """
    _check_norms(module)
    variant, levels = _neurons(module)
    config = _config(attributes(module.root).get("yaml"), variant)
    return Description(
        arch=_published_name(config),
        config=config,
        levels=levels,
        must_give_levels=levels is None,
        # A Gen1 table says 1 whatever the data had.
        timesteps=config.timesteps if variant == "coco" else None,
        classes=_names(attributes(module.root).get("names")),
        image_size=_image_size(module, root),
    )


def _config(yaml: object, variant: Variant) -> SpikeYoloConfig:
    if not isinstance(yaml, dict):
        raise RefusedError("the file's network comes without its layer table", _FIX)
    table, timesteps = read_table(yaml)
    depth, width, most = _scale(yaml)
    channels = yaml.get("ch", 3)
    if type(channels) is not int or not 1 <= channels <= _MAX_CHANNELS:
        raise RefusedError("the file's layer table takes an impossible image", _FIX)
    try:
        config = SpikeYoloConfig(
            table,
            depth,
            width,
            int(most),
            in_channels=channels,
            timesteps=2 if variant == "gen1" else timesteps,
            variant=variant,
        )
    except ValueError as error:
        raise RefusedError(str(error), _FIX) from None
    if sum(config.repeats(row) for row in table) > _MAX_BLOCKS:
        raise RefusedError(f"the file's layer table has more than {_MAX_BLOCKS} blocks", _FIX)
    return config


def _scale(yaml: Mapping[object, object]) -> tuple[float, float, float]:
    """Depth and width factors and the largest width; the first scale if none is named."""
    scales, chosen = yaml.get("scales"), yaml.get("scale")
    if not isinstance(scales, dict) or not scales:
        raise RefusedError("the file's layer table has no scales", _FIX)
    if not isinstance(chosen, str) or not chosen:
        chosen = next(iter(scales))
    match scales.get(chosen):
        case [int() | float() as depth, int() | float() as width, int() | float() as most] if (
            0 < depth <= _MAX_FACTOR and 0 < width <= _MAX_FACTOR and 1 <= most <= _MAX_CHANNELS
        ):
            return depth, width, most
        case _:
            raise RefusedError("the file's layer table has an impossible scale", _FIX)


def _neurons(module: PickledModule) -> tuple[Variant, int | None]:
    """Which neuron the network has, and its D if the class of its quantiser says so."""
    kinds = {part.named.name for part in module.modules} & {_IMAGE_NEURON, _EVENT_NEURON}
    if len(kinds) != 1:
        raise RefusedError("the file's network has no neurons, or two kinds of them", _FIX)
    if kinds == {_EVENT_NEURON}:
        for part in module.modules:
            if part.named.name == _EVENT_NEURON:
                _check_event_neuron(part)
        return "gen1", None
    found = {_levels(part) for part in module.modules if part.named.name == _IMAGE_NEURON}
    if len(found) != 1:
        raise RefusedError("the file's neurons have different D", "train them with one D")
    return "coco", found.pop()


def _levels(neuron: StandIn) -> int:
    quantisers = [child for child in children(neuron).values() if isinstance(child, StandIn)]
    names = [_QUANTISER.fullmatch(child.named.name) for child in quantisers]
    match names:
        case [re.Match() as found] if int(found[1]) <= 255:  # noqa: PLR2004 (counts are bytes)
            return int(found[1])
        case _:
            raise RefusedError("a neuron of the file has no quantiser like MultiSpike4", _FIX)


def _check_event_neuron(neuron: StandIn) -> None:
    said = attributes(neuron)
    for name, value in _EVENT_NEURON_HAS.items():
        if name in said and said[name] != value:
            raise RefusedError(
                f"a neuron of the file has {name} = {_brief(said[name])}, not {value}",
                "train it with the neuron of the official Gen1 code",
            )


def _check_norms(module: PickledModule) -> None:
    """A state dict does not hold eps, so a network with another would load without a word."""
    for part in module.modules:
        eps = attributes(part).get("eps", NORM_EPSILON)
        if part.named.name == "BatchNorm2d" and eps != NORM_EPSILON:
            raise RefusedError(
                f"a batch norm of the file has eps {_brief(eps)}, not {NORM_EPSILON}", _FIX
            )


def _brief(value: object) -> str:
    """A number or text as it is; of anything else, which could be large, only its type."""
    return shown(str(value)) if isinstance(value, int | float | str) else type(value).__name__


def _names(names: object) -> object:
    """Class names in the order of their numbers, whatever they are."""
    if not isinstance(names, dict):
        return names
    numbered = {number: name for number, name in names.items() if type(number) is int}
    return [numbered.get(i) for i in range(len(names))]


def _image_size(module: PickledModule, root: object) -> int | None:
    """The side that training resized to, if the settings of the run are there."""
    settings = root.get("train_args") if isinstance(root, dict) else None
    if not isinstance(settings, dict):
        stored = attributes(module.root).get("args")
        settings = attributes(stored) if isinstance(stored, StandIn) else stored
    size = settings.get("imgsz") if isinstance(settings, dict) else None
    return size if type(size) is int and 1 <= size <= _MAX_SIDE else None


def _published_name(config: SpikeYoloConfig) -> str | None:
    """The network in the registry that differs in nothing but classes and inputs."""
    for name, published in CONFIGS.items():
        if isinstance(published, SpikeYoloConfig) and config == replace(
            published,
            num_classes=config.num_classes,
            in_channels=config.in_channels,
            timesteps=config.timesteps,
        ):
            return name
    return None
