import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from nmnist_archive import write_archive

from s2f_models import EventClassifier, load_checkpoint, train_nmnist
from s2f_models.nmnist import Recording
from s2f_models.train_nmnist import Training, main


@pytest.fixture(autouse=True)
def _denormals_are_back() -> Iterator[None]:
    """The recipe flushes them in the whole process."""
    yield
    torch.set_flush_denormal(False)


def test_stopped_training_resumes_as_if_unbroken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = write_archive(tmp_path / "nmnist.zip")

    def run(out: str, *options: str) -> Path:
        arguments = f"--archive {archive} --out {tmp_path / out} --epochs 2 --batch 2"
        monkeypatch.setattr(sys, "argv", ["train_nmnist", *arguments.split(), *options])
        main()
        return tmp_path / out

    def save_and_stop(training: Training, epoch: int) -> None:
        save(training, epoch)
        raise KeyboardInterrupt

    unbroken, info = load_checkpoint(run("unbroken.pth"))
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
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


def test_held_out_recordings_are_measured_and_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_archive(tmp_path / "nmnist.zip")
    trained: list[list[int]] = []
    measured: list[list[int]] = []

    def train_epoch(training: Training, _: int) -> float:
        trained.append([r.label for r in training.recordings])
        return 0.0

    def accuracy(_: EventClassifier, recordings: list[Recording]) -> float:
        measured.append([r.label for r in recordings])
        return 0.0

    monkeypatch.setattr(Training, "train_epoch", train_epoch)
    monkeypatch.setattr(train_nmnist, "accuracy", accuracy)
    for held_out in (0, 2):
        arguments = f"--archive {archive} --out {tmp_path / 'o.pth'} --epochs 1 --batch 2"
        options = ["--held-out", str(held_out)]
        monkeypatch.setattr(sys, "argv", ["train_nmnist", *arguments.split(), *options])
        main()
    assert trained == [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4]]
    assert measured == [[1, 2, 3, 4, 5, 6], [5, 6]]
