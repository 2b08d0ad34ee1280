import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from bccd_archive import write_archive

from s2f_models import load_checkpoint

pytest.importorskip("pycocotools")

from s2f_models import bccd, train_bccd
from s2f_models.train_bccd import Training, main


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small pictures and the ordinary gradient: compiling the faster one takes longer."""
    monkeypatch.setattr(bccd, "HEIGHT", 64)
    monkeypatch.setattr(bccd, "WIDTH", 64)
    monkeypatch.setattr(train_bccd, "use_fast_depthwise_gradient", lambda _: None)
    yield
    torch.set_flush_denormal(False)


def test_stopped_training_resumes_as_if_unbroken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = write_archive(tmp_path / "bccd.zip", 4)

    def run(out: str, *options: str) -> Path:
        arguments = f"--archive {archive} --out {tmp_path / out} --epochs 2 --batch 2"
        monkeypatch.setattr(sys, "argv", ["train_bccd", *arguments.split(), *options])
        main()
        return tmp_path / out

    def save_and_stop(training: Training, epoch: int) -> None:
        save(training, epoch)
        raise KeyboardInterrupt

    unbroken, info = load_checkpoint(run("unbroken.pth"))
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [report["epoch"] for report in reports] == [0, 1]
    assert {"loss", "seconds"} <= reports[0].keys()
    assert {"map50", "map50_95"} <= reports[1].keys()
    assert (info.arch, info.D, info.notices) == ("spike_yolo_bccd", 4, ())
    assert info.classes == bccd.CLASSES
    assert info.preprocessing is not None
    letterbox = {"kind": "letterbox", "height": 256, "width": 320, "interpolation": "bilinear"}
    assert info.preprocessing == letterbox
    assert info.calibration is not None
    assert info.calibration.shape == (2, 64, 64, 3)
    save = Training.save
    with monkeypatch.context() as patched:
        patched.setattr(Training, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run("resumed.pth")
    resumed, _ = load_checkpoint(run("resumed.pth", "--resume"))
    expected = unbroken.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in resumed.state_dict().items())
    assert all(torch.equal(p, p.half().float()) for p in resumed.parameters())
