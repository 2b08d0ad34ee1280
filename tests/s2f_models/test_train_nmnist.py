import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from nmnist_archive import write_archive, write_digits

from s2f_models import EventClassifier, load_checkpoint, train_nmnist
from s2f_models.mnist import Digits, read_digits
from s2f_models.nmnist import Recording
from s2f_models.train_nmnist import Training, main


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """Of a recipe cut short, on made-up data."""
    archive, digits = write_archive(tmp_path / "nmnist.zip"), write_digits(tmp_path / "digits")
    return (
        f"--archive {archive} --digits {digits} --batch 4 --recorded 2 --steps 2 --camera-epochs 1"
    ).split()


@pytest.fixture(autouse=True)
def _denormals_are_back() -> Iterator[None]:
    """The recipe flushes them in the whole process."""
    yield
    torch.set_flush_denormal(False)


def test_stopped_training_resumes_as_if_unbroken(
    tmp_path: Path,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(out: str, *more: str) -> Path:
        arguments = [*options, "--out", str(tmp_path / out), "--epochs", "2", *more]
        monkeypatch.setattr(sys, "argv", ["train_nmnist", *arguments])
        main()
        return tmp_path / out

    def save_and_stop(training: Training, epoch: int) -> None:
        save(training, epoch)
        raise KeyboardInterrupt

    unbroken, info = load_checkpoint(run("unbroken.pth"))
    camera, *reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert camera.keys() == {"camera"}
    assert [report["epoch"] for report in reports] == [0, 1]
    assert {"loss", "seconds", "accuracy"} <= reports[1].keys()
    assert info.config.task == "classification"
    assert (info.arch, info.D, info.T, info.notices) == ("event_classifier_nmnist", 4, 3, ())
    assert info.classes == tuple("0123456789")
    assert info.preprocessing == {
        "kind": "event_frames",
        "frames": "counts",
        "steps": 3,
        "window_us": None,
        "sensor": [34, 34],
        "largest": 4,
    }
    save = Training.save
    with monkeypatch.context() as patched:
        patched.setattr(Training, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run("resumed.pth")
    resumed, _ = load_checkpoint(run("resumed.pth", "--resume"))
    expected = unbroken.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in resumed.state_dict().items())
    assert all(torch.equal(p, p.half().float()) for p in resumed.parameters())


def test_held_out_recordings_are_measured_and_neither_they_nor_their_digits_trained_on(
    tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[list[int], list[int]]] = []
    measured: list[list[int]] = []

    def train_epoch(training: Training, _: int) -> float:
        trained.append(([r.label for r in training.recordings], training.digits.labels.tolist()))
        return 0.0

    def accuracy(_: EventClassifier, recordings: list[Recording]) -> float:
        measured.append([r.label for r in recordings])
        return 0.0

    monkeypatch.setattr(Training, "train_epoch", train_epoch)
    monkeypatch.setattr(train_nmnist, "accuracy", accuracy)
    for held_out in ("0", "2"):
        arguments = [*options, "--out", str(tmp_path / "o.pth"), "--epochs", "1"]
        monkeypatch.setattr(sys, "argv", ["train_nmnist", *arguments, "--held-out", held_out])
        main()
    assert trained == [
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ([1, 2, 3, 4], [1, 2, 3, 4, 7, 8, 9]),
    ]
    assert measured == [[1, 2, 3, 4, 5, 6], [5, 6]]


def test_recordings_of_other_digits_are_refused(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def turned(folder: Path, split: str) -> Digits:
        digits = read_digits(folder, split)
        return Digits(digits.pictures, digits.labels.flip(0))

    monkeypatch.setattr(train_nmnist, "read_digits", turned)
    monkeypatch.setattr(sys, "argv", ["train_nmnist", *options, "--out", "never.pth"])
    with pytest.raises(ValueError, match="6 recordings are not of the first 6 digits"):
        main()
