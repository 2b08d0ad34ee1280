import subprocess
import sys

import pytest
import torch

from s2f_models import ESpikeFormerConfig, ModelError, SpikeYoloConfig, create, list_models
from s2f_models.registry import CONFIGS


@pytest.mark.parametrize("name", list_models())
def test_every_listed_network_can_be_created(name: str) -> None:
    with torch.device("meta"):
        model = create(name)
    assert model.config == CONFIGS[name]
    tasks = {"spike_yolo": "detection", "spike2former": "segmentation"}
    task = next((t for family, t in tasks.items() if name.startswith(family)), "classification")
    assert CONFIGS[name].task == task
    assert model.training


def test_every_argument_replaces_what_was_published() -> None:
    model = create(
        "e_spikeformer_t",
        num_classes=7,
        D=2,
        in_channels=2,
        embed_dims=(8, 12, 12, 24),
        depths=(2, 1),
        num_heads=3,
        strides=(1, 2, 1, 2, 2),
    )
    config = model.config
    assert isinstance(config, ESpikeFormerConfig)
    assert (config.num_classes, config.levels, config.in_channels) == (7, 2, 2)
    assert (config.embed_dims, config.depths) == ((8, 12, 12, 24), (2, 1))
    assert (config.num_heads, config.strides) == (3, (1, 2, 1, 2, 2))
    assert model.eval()(torch.zeros(2, 2, 16, 16)).shape == (2, 7)


def test_detector_takes_its_own_arguments() -> None:
    model = create("spike_yolo_n", num_classes=7, D=2, T=3, in_channels=2, depth=1, width=0.125)
    config = model.config
    assert isinstance(config, SpikeYoloConfig)
    assert (config.num_classes, config.levels, config.timesteps) == (7, 2, 3)
    assert (config.in_channels, config.embed_dims) == (2, (16, 32, 64, 128))
    assert (config.depths, config.strides) == ((3, 6, 9, 3), (4, 2, 2, 2))
    assert config.input_shape(32, 64) == (1, 2, 32, 64)
    assert create("spike_yolo_gen1_n").config.input_shape(32, 64) == (1, 2, 3, 32, 64)


def test_argument_of_another_family_is_refused() -> None:
    with pytest.raises(ModelError, match="spike_yolo_n has no num_heads to choose"):
        create("spike_yolo_n", num_heads=4)
    with pytest.raises(ModelError, match="e_spikeformer_t has no T to choose"):
        create("e_spikeformer_t", T=2)
    with torch.device("meta"):
        assert create("e_spikeformer_t", T=1).config.timesteps == 1


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match="no network called e_spikeformer_xxl") as caught:
        create("e_spikeformer_xxl")
    assert all(name in caught.value.fix for name in list_models())


def test_import_needs_nothing_but_torch() -> None:
    """Training's own dependencies would slow every command down."""
    program = (
        "import sys, torch; before = {m.partition('.')[0] for m in sys.modules}; "
        "import s2f_models; print(*{m.partition('.')[0] for m in sys.modules} - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    new = set(done.stdout.split())
    assert "s2f_models" in new
    assert not new - {"s2f_models"} - set(sys.stdlib_module_names)
