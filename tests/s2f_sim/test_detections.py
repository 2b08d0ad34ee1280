import io
import json

import numpy as np
import pytest
from PIL import Image

from s2f_deploy.errors import InputError
from s2f_sim.detection_picture import draw_detections
from s2f_sim.detections import COCO_CATEGORIES, Detection, coco_results, detections
from s2f_sim.letterbox import Letterbox
from s2f_sim.page import fitted, hue, ink_on, text_width

FIT = Letterbox.for_prediction((100, 200), 64)


def test_boxes_are_those_of_the_original_picture() -> None:
    rows = np.array([[0, 0, 64, 32, 0.75, 1], [32, 16, 500, 500, 0.5, 0]])
    first, second = detections(rows, FIT, ["cat", "do\x1b[2Jg"])
    assert first == Detection((0, 0, 200, 100), 0.75, 1, "do?[2Jg")
    assert second.box == (100, 50, 200, 100)
    assert detections(rows, FIT, None)[0].label == "class 1"
    assert detections(rows[:0], FIT, ["cat"]) == ()


def test_impossible_rows_are_refused() -> None:
    with pytest.raises(InputError, match="none of 1 names"):
        detections(np.array([[0, 0, 1, 1, 0.5, 1]]), FIT, ["cat"])
    with pytest.raises(InputError, match="finite"):
        detections(np.array([[0, 0, np.inf, 1, 0.5, 0]]), FIT, ["cat"])


def test_results_are_cocos() -> None:
    found = [Detection((1.23456, 2, 11.23456, 22), 0.123456, 79, "toothbrush")]
    entry = {"image_id": 42, "category_id": 90, "bbox": [1.235, 2, 10, 20], "score": 0.12346}
    assert json.loads(json.dumps(coco_results(42, found, COCO_CATEGORIES))) == [entry]
    assert coco_results("a", found)[0]["category_id"] == 79


def test_cocos_categories_have_their_gaps() -> None:
    # person, stop sign, cat, tv, toothbrush: as the annotation files number them.
    assert len(COCO_CATEGORIES) == 80
    assert [COCO_CATEGORIES[i] for i in (0, 11, 15, 62, 79)] == [1, 13, 17, 72, 90]


def drawn(size: tuple[int, int], found: list[Detection]) -> Image.Image:
    content = draw_detections(Image.new("RGB", size, "teal"), found, title="t", caption="c")
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        return picture.convert("RGB")


@pytest.mark.parametrize("size", [(640, 480), (1, 1), (40, 2000), (2000, 40)])
@pytest.mark.parametrize(
    "label", ["cat", "a name of a class that goes on and on " * 9, "猫$x^2$", ""]
)
def test_boxes_are_drawn_whatever_the_photograph(size: tuple[int, int], label: str) -> None:
    width, height = size
    found = [
        Detection((0, 0, width, height), 0.9, 0, label),
        Detection((width / 4, height / 4, width / 2, height / 2), 0.4, 1, "dog"),
        Detection((0, 0, 0, 0), 0.3, 79, "nothing"),
    ]
    picture = drawn(size, found)
    assert max(picture.size) <= 1300
    listed = picture.getcolors(1 << 24)
    assert listed is not None
    colours = {colour for _, colour in listed}
    for index in range(2):
        assert tuple(int(hue(index)[i : i + 2], 16) for i in (1, 3, 5)) in colours


def test_a_box_is_where_it_should_be() -> None:
    picture = drawn((900, 450), [Detection((100, 100, 300, 200), 0.9, 0, "cat")])
    colour = tuple(int(hue(0)[i : i + 2], 16) for i in (1, 3, 5))
    at = [(128, 216), (328, 216), (228, 166), (228, 266)]
    assert all(picture.getpixel(point) == colour for point in at)
    assert picture.getpixel((228, 216)) == (0, 128, 128)


def test_three_hundred_boxes_of_eighty_classes_are_drawn() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (300, 4))
    found = [
        Detection((x, y, x + w, y + h), 0.5, i % 80, f"class {i % 80}")
        for i, (x, y, w, h) in enumerate(corners.tolist())
    ]
    assert drawn((640, 640), found).height < 1200
    assert drawn((640, 640), []) != drawn((640, 640), found)


def test_letters_can_be_read_on_every_colour_and_lines_are_cut() -> None:
    assert (ink_on("#ffffff"), ink_on("#000000")) == ("#1f2430", "#ffffff")
    assert len({hue(i) for i in range(80)}) == 80
    cut = fitted("a long line of text", 60)
    assert cut.endswith("…")
    assert text_width(cut) <= 60
    assert fitted("a", 60) == "a"
