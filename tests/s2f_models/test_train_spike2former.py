import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from nmnist_archive import write_digits
from segmentation_files import write_photographs, write_streets

from s2f_models import Spike2FormerConfig, camvid, composed_digits, create, load_checkpoint
from s2f_models import train_spike2former as recipe
from s2f_models.deformable_sampling import DeformableSample
from s2f_models.segmentation_lessons import StreetLessons
from s2f_models.spike2former import Spike2Former
from s2f_models.train_spike2former import (
    Training,
    main,
    parse_arguments,
    prepare,
    read_lessons,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The ordinary gradient: compiling the faster one takes longer."""
    monkeypatch.setattr(recipe, "use_fast_depthwise_gradient", lambda _: None)
    yield
    torch.set_flush_denormal(False)


def say(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["train_spike2former", *map(str, arguments)])


@pytest.fixture
def digits(tmp_path: Path) -> list[object]:
    """Arguments that teach digits."""
    mnist = write_digits(tmp_path / "mnist")
    write_digits(tmp_path / "mnist", split="t10k")
    photographs = write_photographs(tmp_path / "photographs")
    options: list[object] = ["--data", "digits", "--mnist", mnist, "--photographs", photographs]
    options += ["--held-out", photographs, "--pictures", 4, "--tested", 2]
    return [*options, "--batch", 2, "--epochs", 2]


@pytest.fixture
def streets(tmp_path: Path) -> list[object]:
    """Arguments that teach streets."""
    archive = write_streets(tmp_path / "streets.zip")
    return ["--data", "camvid", "--archive", archive, "--batch", 2, "--epochs", 1]


def test_stopped_training_resumes_as_if_unbroken(
    tmp_path: Path,
    digits: list[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(out: str, *options: str) -> Path:
        say(monkeypatch, *digits, "--out", tmp_path / out, *options)
        main()
        return tmp_path / out

    def save_and_stop(training: Training, epoch: int) -> None:
        save(training, epoch)
        raise KeyboardInterrupt

    unbroken, info = load_checkpoint(run("unbroken.pth"))
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [report["epoch"] for report in reports] == [0, 1]
    assert {"loss", "classes", "focal", "dice", "pixels", "seconds"} <= reports[0].keys()
    assert {"miou", "pixel_accuracy", "iou"} <= reports[1].keys()
    assert (info.arch, info.D, info.notices) == ("spike2former_digits", 4, ())
    assert info.classes == ("background", *"0123456789")
    assert isinstance(info.config, Spike2FormerConfig)
    assert info.config.offset_bits == 4
    assert info.preprocessing == {
        "kind": "fitted",
        "height": 128,
        "width": 128,
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
    }
    assert info.calibration is not None
    assert info.calibration.shape == (2, 128, 128, 3)
    save = Training.save
    with monkeypatch.context() as patched:
        patched.setattr(Training, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run("resumed.pth")
    resumed, _ = load_checkpoint(run("resumed.pth", "--resume"))
    expected = unbroken.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in resumed.state_dict().items())
    assert all(torch.equal(p, p.half().float()) for p in resumed.parameters())


def test_streets_are_taught_at_the_size_that_is_deployed(
    tmp_path: Path, streets: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "measure", lambda *_: torch.eye(11, dtype=torch.int64))
    say(monkeypatch, *streets, "--out", tmp_path / "streets.pth")
    main()
    _, info = load_checkpoint(tmp_path / "streets.pth")
    assert (info.arch, info.classes) == ("spike2former_camvid", camvid.CLASSES)
    assert info.palette == camvid.PALETTE
    assert info.preprocessing is not None
    assert (info.preprocessing["height"], info.preprocessing["width"]) == (192, 256)
    assert info.calibration is not None
    assert info.calibration.shape == (2, 192, 256, 3)


def test_streets_may_begin_with_what_sees_digits(
    tmp_path: Path, streets: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    seen = {k: t + 1 for k, t in create("spike2former_digits").state_dict().items()}
    torch.save({"model": seen}, tmp_path / "digits.pth")
    say(monkeypatch, *streets, "--out", "o", "--start", tmp_path / "digits.pth")
    args = parse_arguments()
    begun = Training(args, read_lessons(args)).model.state_dict()
    taken = {k for k, t in seen.items() if t.shape == begun[k].shape and torch.equal(t, begun[k])}
    parts = ("backbone.", "decode_head.pixel_decoder.")
    assert taken == {k for k in seen if k.startswith(parts)}


def test_rare_classes_of_streets_weigh_more(
    streets: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, *streets, "--out", "o")
    taught = read_lessons(parse_arguments())
    assert isinstance(taught, StreetLessons)
    named = torch.cat([picture.labels.flatten() for picture in taught.trained]).tolist()
    pixels = [max(named.count(c), 1) for c in range(11)]
    expected = [(sorted(pixels)[5] / count) ** 0.5 for count in pixels]
    assert len(set(expected)) > 1
    torch.testing.assert_close(taught.class_weights, torch.tensor(expected))


def test_lessons_keep_what_is_measured_by_apart(
    tmp_path: Path, digits: list[object], streets: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, *streets, "--out", "o", "--measure-on", "val")
    args = parse_arguments()
    taught = read_lessons(args)
    expected = camvid.read_archive(args.archive, "val")
    assert all(
        torch.equal(a.pixels, b.pixels) for a, b in zip(taught.tested, expected, strict=True)
    )
    say(monkeypatch, *digits, "--out", "o")
    taught = read_lessons(parse_arguments())
    kept = composed_digits.held_out(tmp_path / "mnist", tmp_path / "photographs", 2)
    assert torch.equal(torch.stack([p.labels for p in taught.tested]), kept.labels)
    epochs = [list(taught.batches(2, torch.Generator().manual_seed(s))) for s in (0, 0, 1)]
    assert [len(epoch) for epoch in epochs] == [2, 2, 2]
    first, again, other = (torch.cat([labels for _, labels in epoch]) for epoch in epochs)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("data", "missing"), [("digits", "--mnist"), ("camvid", "--archive")])
def test_data_must_be_given(
    data: str,
    missing: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    say(monkeypatch, "--data", data, "--out", "o")
    with pytest.raises(SystemExit):
        parse_arguments()
    assert f"needs {missing}" in capsys.readouterr().err


def test_positions_are_computed_in_full_precision_and_embeddings_do_not_decay(
    digits: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, *digits, "--out", "o", "--decay", "0.5")
    args = parse_arguments()
    training = Training(args, read_lessons(args))
    seen: list[torch.dtype] = []
    for module in training.model.modules():
        if isinstance(module, DeformableSample):
            module.register_forward_hook(lambda _, inputs, __: seen.extend(i.dtype for i in inputs))
    pixels, labels = next(training.lessons.batches(2, torch.Generator().manual_seed(0)))
    training._step(pixels, labels)
    assert seen == [torch.float32] * 3
    decayed = {id(p) for p in training.optimizer.param_groups[0]["params"]}
    assert training.optimizer.param_groups[0]["weight_decay"] == 0.5
    assert training.optimizer.param_groups[1]["weight_decay"] == 0
    kept = {n for n, p in training.model.named_parameters() if p.ndim > 1 and id(p) not in decayed}
    embedded = ("query_embed", "query_feat", "level_embed")
    assert kept == {f"decode_head.{name}.weight" for name in embedded}


def test_either_backbone_can_be_taught(
    tmp_path: Path, digits: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "measure", lambda *_: torch.eye(11, dtype=torch.int64))
    say(monkeypatch, *digits, "--backbone", "sdtv3", "--out", tmp_path / "v3.pth")
    main()
    model, info = load_checkpoint(tmp_path / "v3.pth")
    assert info.arch == "spike2former_digits_v3"
    assert isinstance(info.config, Spike2FormerConfig)
    assert info.config.backbone == "sdtv3"
    began = create("spike2former_digits_v3").state_dict()
    assert {k: t.shape for k, t in model.state_dict().items()} == {
        k: t.shape for k, t in began.items()
    }


@pytest.mark.parametrize(
    "name", [f"spike2former_{of}{kind}" for of in ("digits", "camvid") for kind in ("", "_v3")]
)
def test_every_query_begins_as_that_of_a_class(name: str) -> None:
    torch.manual_seed(0)
    model = create(name)
    assert isinstance(model, Spike2Former)
    prepare(model)
    with torch.no_grad():
        classes, _ = model.train()(torch.randn(2, 3, 64, 64), all_layers=True)
    queries, named = model.config.num_queries, model.config.named_classes
    wanted = torch.arange(queries) % named
    right = (classes.argmax(3) == wanted).float().mean((1, 2)).tolist()
    assert right[0] == 1
    # Each layer of the decoder changes some.
    assert right[0] >= right[1] >= right[2] > 0.5
    gammas = [p for n, p in model.named_parameters() if "gamma" in n]
    assert len(gammas) == 3
    assert all(p.tolist() == pytest.approx([0.1] * 32) for p in gammas)
