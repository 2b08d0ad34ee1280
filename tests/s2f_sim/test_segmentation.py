"""The class of every pixel: how pictures go in, what comes out, how good it is."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from labelled_sets import write_label_map, write_picture
from numpy.typing import NDArray
from PIL import Image
from spike2former_golden import TINY, let_fire

from s2f_deploy.errors import ArtefactError, InputError
from s2f_models import record_counts
from s2f_models.segmentation import PixelClassifier, class_scores, segment
from s2f_sim.answer import SEGMENTATION, answer
from s2f_sim.bilinear import resize
from s2f_sim.fit import Fit
from s2f_sim.fitted_picture import FittedPicture
from s2f_sim.label_map import LabelMap, Numbering
from s2f_sim.labelled_data import LabelledData, read_labelled_data
from s2f_sim.labelled_sample import Classes, LabelledSample
from s2f_sim.preparation import read_preparation, write_preparation
from s2f_sim.sample import Sample
from s2f_sim.segmentation_picture import draw_labels, draw_regions
from s2f_sim.segmentation_score import confusion, score_pixels
from s2f_sim.segmented import Segmented, read_palette
from s2f_sim.usual_preparation import usual_preparation

SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))
PNG = (".png",)


@given(picture=SIDES, shape=SIDES, classes=st.integers(1, 5), seed=st.integers(0, 99))
def test_labels_are_those_of_the_network_in_pytorch(
    picture: tuple[int, int], shape: tuple[int, int], classes: int, seed: int
) -> None:
    fit = Fit.into(picture, shape)
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 3, classes + 1, generator=generator)
    masks = torch.randn(1, 3, *shape, generator=generator)
    scores = class_scores(logits, masks, shape)
    expected = segment(scores, fit.resized, picture)[0].numpy()
    found = fit.labels(scores[0].numpy())
    assert found.shape == picture
    differ = found != expected
    if differ.any():
        # Only where two classes are equal up to rounding.
        rows, columns = fit.resized
        live = scores[:, :, :rows, :columns]
        best = torch.nn.functional.interpolate(live, picture, mode="bilinear")[0]
        best = best.sort(0, descending=True).values
        assert float((best[0] - best[1])[torch.from_numpy(differ)].max()) < 1e-5


def test_a_picture_touches_two_borders() -> None:
    assert Fit.into((240, 320), (512, 1024)).resized == (512, 683)
    assert Fit.into((320, 240), (512, 1024)).resized == (512, 384)
    assert Fit.into((1, 4000), (512, 512)).resized == (1, 512)


def test_scores_of_pixels_are_asked_of_the_same_modules() -> None:
    torch.manual_seed(0)
    network = replace(TINY, depths=(1, 0), decoder_layers=1, live_classes=2).build()
    let_fire(network)
    image = torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), record_counts(network) as expected:
        logits, masks = network(image)
    asked = PixelClassifier(network).eval()
    with torch.no_grad(), record_counts(asked) as counts:
        scores = asked(image)
    assert list(counts) == list(expected)
    assert scores.shape == (1, 2, 32, 48)
    torch.testing.assert_close(scores, class_scores(logits, masks, (32, 48))[:, :2])


def test_a_picture_is_fitted_normalised_and_then_padded() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    prepared = FittedPicture.imagenet(32, 32).prepare(Image.fromarray(pixels))
    assert prepared.shape == (1, 3, 32, 32)
    assert prepared.dtype == np.float32
    fitting = resize(pixels, 32, 21).astype(np.float64)
    expected = (fitting - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    np.testing.assert_allclose(prepared[0, :, :21].transpose(1, 2, 0), expected, atol=1e-6)
    assert not prepared[0, :, 21:].any()


def test_preparation_survives_being_written_down() -> None:
    made = FittedPicture(48, 64, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert read_preparation(write_preparation(made), where="x") == made
    assert usual_preparation(SEGMENTATION, (3, 48, 64), 1, where="x") == FittedPicture.imagenet(
        48, 64
    )


@pytest.mark.parametrize(
    "change",
    [
        {"height": 0},
        {"width": 1 << 40},
        {"width": "64"},
        {"mean": [0, 0]},
        {"mean": [0, 0, float("nan")]},
        {"mean": "abc"},
        {"std": [1, 1, 0]},
        {"std": None},
        {"more": 1},
    ],
)
def test_impossible_preparation_is_one_error(change: dict[str, Any]) -> None:
    entries = write_preparation(FittedPicture.imagenet(64, 64)) | change
    with pytest.raises(InputError, match=r"net\.s2f"):
        read_preparation(entries, where="net.s2f")


@pytest.mark.parametrize(
    "entries",
    [
        7,
        {},
        "abc",
        [[0, 0, 0]],
        [[0, 0, 0], [0, 0, 256]],
        [[0, 0, 0], [0, 0, -1]],
        [[0, 0, 0], [0, 0, True]],
        [[0, 0, 0], [0, 0, 1.0]],
        [[0, 0, 0], [0, 0]],
        [[0, 0, 0], "abc"],
        [[0, 0, 0], None],
        [[0, 0, 0]] * 3,
    ],
)
def test_a_palette_that_is_none_is_one_error(entries: object) -> None:
    with pytest.raises(InputError, match=r"net\.s2f"):
        read_palette(entries, 2, where="net.s2f")


def test_no_palette_is_none() -> None:
    assert read_palette(None, 2, where="x") is None


def sample_of(size: tuple[int, int], shape: tuple[int, int]) -> Sample:
    prepared = FittedPicture.imagenet(*shape)
    picture = Image.new("RGB", (size[1], size[0]), "white")
    fit = Fit.into(size, shape)
    return Sample(Path("a.png"), prepared.prepare(picture), picture, (0, 0, 1, 1), fit=fit)


def test_an_answer_is_sorted_by_area() -> None:
    scores = np.zeros((1, 3, 16, 16), np.float32)
    scores[0, 2, :, 4:] = 1
    # Padding, below.
    scores[0, 1, 8:] = 9
    found = answer({"scores": scores}, sample_of((8, 16), (16, 16)), SEGMENTATION, ["a", "b", "c"])
    assert isinstance(found, Segmented)
    assert found.to_dict() == {
        "size": [16, 8],
        "regions": [
            {"class": 2, "label": "c", "pixels": 96, "share": 0.75},
            {"class": 0, "label": "a", "pixels": 32, "share": 0.25},
        ],
    }
    assert found.rows() == [["c", "96", "75.0%"], ["a", "32", "25.0%"]]


def test_outputs_that_are_no_scores_of_pixels_are_one_error() -> None:
    with pytest.raises(ArtefactError, match="no scores of the pixels"):
        answer({"x": np.zeros((1, 5), np.float32)}, sample_of((8, 8), (8, 8)), SEGMENTATION, None)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_the_label_map_is_drawn_with_its_palette() -> None:
    labels = np.array([[0, 1], [2, 2]], np.uint16)
    palette = ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    found = Segmented.of(labels, ["a", "b\x1b", "c"], palette)
    with opened(draw_labels(found)) as drawn:
        assert drawn.mode == "P"
        assert np.array_equal(np.asarray(drawn), labels)
        assert drawn.convert("RGB").getpixel((0, 1)) == (7, 8, 9)
    assert [region.label for region in found.regions] == ["c", "a", "b?"]


def test_many_classes_are_drawn() -> None:
    labels = np.arange(300, dtype=np.uint16).reshape(15, 20)
    found = Segmented.of(labels, None, None)
    assert found.summary() == "and 280 smaller classes"
    with opened(draw_labels(found)) as drawn:
        assert np.array_equal(np.asarray(drawn), labels)
    page = draw_regions(Image.new("RGB", (20, 15)), found, title="t", caption="c")
    with opened(page) as drawn:
        assert drawn.size > (900, 600)


def test_what_is_nothing_in_particular_stays_as_photographed() -> None:
    labels = np.zeros((30, 40), np.uint16)
    labels[:, 20:] = 1
    photograph = Image.new("RGB", (40, 30), (10, 200, 30))
    found = Segmented.of(labels, ("background", "7"), None)
    with opened(draw_regions(photograph, found, title="t", caption="c")) as drawn:
        # In the middle of the page's height, left and right of the photograph's.
        row = [drawn.getpixel((x, drawn.height // 2)) for x in (100, 800)]
    assert row[0] == (10, 200, 30)
    assert row[1] != (10, 200, 30)


def test_confusion_is_counted_pixel_by_pixel() -> None:
    rng = np.random.default_rng(0)
    truth, labels = rng.integers(-1, 4, (9, 7)), rng.integers(0, 4, (9, 7)).astype(np.uint16)
    expected: dict[tuple[int, int], int] = {}
    for asked, said in zip(truth.flat, labels.flat, strict=True):
        if asked >= 0:
            expected[int(asked), int(said)] = expected.get((int(asked), int(said)), 0) + 1
    found = confusion(truth, labels, 4)
    assert {(asked, said): pixels for asked, said, pixels in found} == expected


def scored(*rows: list[list[int]]) -> Any:
    samples = [
        LabelledSample(str(i), Path(), LabelMap(Path(), Numbering())) for i in range(len(rows))
    ]
    return score_pixels(samples, [{"confusion": part} for part in rows], Classes(4))


def test_mean_iou_is_that_of_the_classes_that_occur() -> None:
    score = scored([[0, 0, 6], [0, 1, 2]], [[1, 1, 3], [0, 2, 1]])
    assert score.samples == 2
    assert score.pixels == 12
    assert score.pixel_accuracy == 9 / 12
    assert [t.iou for t in score.classes] == [6 / 9, 3 / 5, 0]
    assert score.miou == pytest.approx((6 / 9 + 3 / 5) / 3)
    assert [c["class"] for c in score.to_dict()["classes"]] == [0, 1, 2]


@pytest.mark.parametrize("rows", [7, None, [[1, 2]], [[0, 4, 1]], [[0, -1, 1]], [["a", 0, 1]]])
def test_a_damaged_log_is_one_error(rows: Any) -> None:
    with pytest.raises(ArtefactError, match="none of this network"):
        scored(rows)


def test_nothing_annotated_is_one_error() -> None:
    with pytest.raises(InputError, match="no pixel"):
        scored([])


def labels_in(path: Path, pixels: NDArray[Any], **numbering: Any) -> list[list[int]]:
    Image.fromarray(pixels).save(path)
    labels: list[list[int]] = LabelMap(path, Numbering(**numbering)).read(3).tolist()
    return labels


def test_numbers_of_annotations_become_classes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    pixels = np.array([[0, 2, 255]], np.uint8)
    assert labels_in(path, pixels) == [[0, 2, -1]]
    assert labels_in(path, pixels, ignored=(2, 255)) == [[0, -1, -1]]
    assert labels_in(path, pixels, first=1) == [[-1, 1, -1]]
    assert labels_in(path, pixels.astype(np.uint16) * 9, objects=True) == [[0, 1, 1]]
    with pytest.raises(InputError, match="number 3"):
        labels_in(path, pixels + np.uint8(1))
    with pytest.raises(InputError, match="colours"):
        labels_in(path, np.zeros((2, 2, 3), np.uint8))
    path.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(InputError, match="no readable PNG"):
        LabelMap(path, Numbering()).read(3)


def read(folder: Path, **options: Any) -> LabelledData:
    return read_labelled_data(folder, SEGMENTATION, Classes(3), PNG, **options)


def keys(data: LabelledData) -> list[str]:
    return [sample.key for sample in data.samples]


def write_pair(picture: Path, annotation: Path) -> None:
    write_picture(picture, 1, (6, 4))
    write_label_map(annotation, np.zeros((4, 6), np.uint8))


def test_a_folder_for_every_split_is_recognised(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("test", "b")):
        write_pair(tmp_path / split / f"{name}.png", tmp_path / f"{split}annot" / f"{name}.png")
    data = read(tmp_path)
    assert keys(data) == ["b.png"]
    assert "test is taken" in data.notices[0]
    assert keys(read(tmp_path, split="train")) == ["a.png"]
    with pytest.raises(InputError, match="no split"):
        read(tmp_path, split="val")


def test_masks_beside_pictures_are_recognised(tmp_path: Path) -> None:
    write_pair(tmp_path / "cells" / "1_img.png", tmp_path / "cells" / "1_masks.png")
    data = read(tmp_path)
    assert keys(data) == ["cells/1_img.png"]
    target = data.samples[0].target
    assert isinstance(target, LabelMap)
    assert target.numbering.objects


def test_pascal_voc_is_recognised(tmp_path: Path) -> None:
    for name in "ab":
        annotation = tmp_path / "SegmentationClass" / f"{name}.png"
        write_pair(tmp_path / "JPEGImages" / f"{name}.png", annotation)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("b\n")
    assert keys(read(tmp_path)) == ["a.png", "b.png"]
    assert keys(read(tmp_path, split="val")) == ["b.png"]
    (lists / "val.txt").write_text("c\n")
    with pytest.raises(InputError, match="'c', which has no annotation"):
        read(tmp_path, split="val")


def test_two_folders_are_matched_by_name(tmp_path: Path) -> None:
    truth, images = tmp_path / "gtFine", tmp_path / "leftImg8bit"
    name = "aachen/aachen_0_0"
    write_pair(images / f"{name}_leftImg8bit.png", truth / f"{name}_gtFine_labelTrainIds.png")
    write_label_map(truth / f"{name}_gtFine_color.png", np.zeros((4, 6, 3), np.uint8))
    first = read(truth, images=images)
    assert keys(first) == [f"{name}_leftImg8bit.png"]
    annotation = truth / f"{name}_gtFine_labelTrainIds.png"
    write_label_map(annotation, np.ones((4, 6), np.uint8))
    assert read(truth, images=images).digest != first.digest
    assert read(truth, images=images, numbering=Numbering(1)).digest != first.digest
    (images / f"{name}_leftImg8bit.png").unlink()
    with pytest.raises(InputError, match="no picture of its name"):
        read(truth, images=images)
    with pytest.raises(InputError, match="no data set"):
        read(truth)
    with pytest.raises(InputError, match="no annotations"):
        read(images / "aachen", images=images)
