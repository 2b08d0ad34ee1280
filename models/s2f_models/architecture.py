"""Which network a state dict belongs to, read off its names and shapes."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from s2f_models.e_spikeformer import ESpikeFormerConfig
from s2f_models.e_spikeformer_shapes import infer_e_spikeformer
from s2f_models.entry_shapes import READABLE, Shapes, sizes
from s2f_models.errors import shown
from s2f_models.registry import CONFIGS, Config, Network
from s2f_models.spike2former import Spike2FormerConfig
from s2f_models.spike2former_shapes import HEAD_ENTRY, classes, infer_spike2former
from s2f_models.spike_yolo import SpikeYoloConfig
from s2f_models.stand_in import RefusedError
from s2f_models.state_dict import bare_name

# Statistics without influence on an output; some tools strip them.
_COUNTER = ".num_batches_tracked"
# The first convolution of every SpikeYOLO, and of nothing else.
_DETECTOR_ENTRY = "1.encode_conv.weight"


def with_classes(config: Config, shapes: Shapes) -> Config:
    """The network with as many outputs as the state dict has.

    Raises:
        RefusedError: there is no classifier, or it has no sensible shape.
    """
    if isinstance(config, Spike2FormerConfig):
        count = classes(shapes)
        same = count == config.num_classes
        return config if same else replace(config, num_classes=count, live_classes=None)
    name = bare_name(config.class_entry)
    axes = 2 if isinstance(config, ESpikeFormerConfig) else 4
    return replace(config, num_classes=sizes(shapes, name, axes, "such network")[0])


def infer_config(shapes: Shapes, named: int | None = None) -> tuple[str, Config, tuple[str, ...]]:
    """Everything that names and shapes show of a network.

    Args:
        shapes: of the state dict.
        named: how many classes the file names, if it does.

    Returns:
        Name in the registry or ``"custom"``, configuration with D = 4, notices for the user.

    Raises:
        RefusedError: it is no network of this package, or could be several of them.
    """
    if _DETECTOR_ENTRY in shapes:
        return _infer_spike_yolo(shapes)
    if HEAD_ENTRY in shapes:
        published = {k: v for k, v in CONFIGS.items() if isinstance(v, Spike2FormerConfig)}
        return infer_spike2former(shapes, published, named)
    classifiers = {k: v for k, v in CONFIGS.items() if isinstance(v, ESpikeFormerConfig)}
    return infer_e_spikeformer(shapes, classifiers)


def _infer_spike_yolo(shapes: Shapes) -> tuple[str, SpikeYoloConfig, tuple[str, ...]]:
    """The one published SpikeYOLO with exactly these entries."""
    matches = []
    for name, published in CONFIGS.items():
        if not isinstance(published, SpikeYoloConfig) or not _as_wide(published, shapes):
            continue
        config = with_classes(published, shapes)
        if not any(_problems(_on_meta(config), shapes)):
            matches.append((name, config))
    match matches:
        case [(name, SpikeYoloConfig() as config)]:
            return name, config, ()
        case []:
            raise RefusedError(
                "these are the weights of no published SpikeYOLO, and they do not say how their "
                "layers are connected",
                "give the whole checkpoint as the official code saved it, or name it with arch",
            )
        case _:
            names = " and ".join(name for name, _ in matches)
            raise RefusedError(
                f"these could be the weights of {names}, which have different neurons",
                "name the network it was trained as with arch",
            )


def _as_wide(config: SpikeYoloConfig, shapes: Shapes) -> bool:
    width = sizes(shapes, _DETECTOR_ENTRY, 4, "SpikeYOLO")[0]
    return config.embed_dims[0] == width and bare_name(config.class_entry) in shapes


def _on_meta(config: Config) -> Network:
    with torch.device("meta"):
        return config.build()


def match_entries(config: Config, shapes: Shapes) -> Network:
    """The network without memory for its weights, once every entry is known to fit.

    Raises:
        RefusedError: names the first entry that is missing, of another shape, or of no layer.
    """
    # Nothing is allocated: a made-up file cannot ask for more memory than it has itself.
    model = _on_meta(config)
    problems = list(_problems(model, shapes))
    if problems:
        others = f", and {len(problems) - 1} more entries do not fit" if problems[1:] else ""
        raise RefusedError(
            f"{problems[0]}{others}",
            f"name the network it was trained as with arch, or {READABLE}",
        )
    return model


def _problems(model: Network, shapes: Shapes) -> Iterator[str]:
    expected = {bare_name(name): tuple(x.shape) for name, x in model.state_dict().items()}
    for name, shape in expected.items():
        if name not in shapes:
            if not name.endswith(_COUNTER):
                yield f"the file has no entry {name}, expected one of shape {shape}"
        elif shapes[name] != shape:
            yield f"{name} has shape {shapes[name]}, expected {shape}"
    for name in shapes:
        if name not in expected:
            yield f"the entry {shown(name)} belongs to no layer of this network"
