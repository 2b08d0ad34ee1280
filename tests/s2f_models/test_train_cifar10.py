import io
import sys
import zipfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from s2f_models import load_checkpoint, train_cifar10
from s2f_models.quantised_training import bake_weights, quantise_weights
from s2f_models.train_cifar10 import Training, main


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Four training images and two test images of noise in each of two classes."""
    noise = np.random.default_rng(0)
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as members:
        for folder, count in (("train", 4), ("test", 2)):
            for name in (f"{folder}/{c}/{i}.jpg" for c in ("cat", "dog") for i in range(count)):
                jpeg = io.BytesIO()
                Image.fromarray(noise.integers(0, 255, (32, 32, 3), np.uint8)).save(jpeg, "JPEG")
                members.writestr(name, jpeg.getvalue())
    return path


@pytest.fixture(autouse=True)
def _denormals_are_back() -> Iterator[None]:
    """The recipe flushes them in the whole process."""
    yield
    torch.set_flush_denormal(False)


def test_stopped_fine_tuning_resumes_as_if_unbroken(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(out: str, *options: str) -> Path:
        path = archive.with_name(out)
        arguments = f"--archive {archive} --out {path} --epochs 2 --small-epochs 0 --batch 4"
        monkeypatch.setattr(sys, "argv", ["train_cifar10", *arguments.split(), *options])
        main()
        return path

    def save_and_stop(training: Training, epoch: int) -> None:
        save(training, epoch)
        raise KeyboardInterrupt

    # Compiling the faster gradient takes longer than this test.
    monkeypatch.setattr(train_cifar10, "use_fast_depthwise_gradient", lambda _: None)
    unbroken = load_checkpoint(run("unbroken.pth", "--quantise", "8"))[0]
    save = Training.save
    with monkeypatch.context() as patched:
        patched.setattr(Training, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run("resumed.pth", "--quantise", "8")
    resumed = load_checkpoint(run("resumed.pth", "--quantise", "8", "--resume"))[0]
    expected = deepcopy(unbroken.state_dict())
    assert all(torch.equal(tensor, expected[key]) for key, tensor in resumed.state_dict().items())
    quantise_weights(resumed, torch.zeros(1, 3, 32, 32), 8)
    bake_weights(resumed)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in resumed.state_dict().items())
