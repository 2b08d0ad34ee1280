import io
from dataclasses import replace
from importlib import resources
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from real_time_networks import TimedBuilder

from s2f_deploy import Graph
from s2f_deploy.passes.pipeline import lower_content
from s2f_sim import simulate
from s2f_sim.annotate import annotate
from s2f_sim.camera_events import Events
from s2f_sim.camera_picture import BRIGHTER, DARKER, events_image
from s2f_sim.detection_picture import draw_detections
from s2f_sim.page import HUES, INK, Page, fitted, rgb, text_width
from s2f_sim.prediction import top_classes
from s2f_sim.raster import draw_raster
from s2f_sim.run import Run

SCORES = top_classes(np.array([2.0, 1.0, 0.0]), ["cat", "dog", "frog"])
RED, BLUE, WHITE = rgb(BRIGHTER), rgb(DARKER), (255, 255, 255)


def pixels(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def listed(area: NDArray[np.uint8]) -> set[tuple[int, ...]]:
    packed = np.unique(area.reshape(-1, 3).astype(int) @ (1 << 16, 1 << 8, 1)).tolist()
    return {(colour >> 16, colour >> 8 & 255, colour & 255) for colour in packed}


def colours(content: bytes) -> int:
    return len(listed(pixels(content)))


@pytest.mark.parametrize("size", [(32, 32), (451, 300), (40, 2000), (2000, 40)])
@pytest.mark.parametrize("label", ["cat", "a name of a class that goes on and on " * 4, "猫$x^2$"])
def test_the_answer_is_drawn_whatever_the_photograph(size: tuple[int, int], label: str) -> None:
    scores = top_classes(np.array([2.0, 1.0, 0.0]), [label, "dog", "frog"])
    photograph = Image.new("RGB", size, "teal")
    assert colours(annotate(photograph, scores, title="t", caption="c", seen=(0, 0, 9, 9))) > 20


def test_bars_are_as_long_as_classes_are_probable() -> None:
    drawn = pixels(annotate(Image.new("RGB", (32, 32)), SCORES, title="t", caption="c"))
    first = 66 + 64 + 22
    for row, score in enumerate(SCORES):
        bar = drawn[first + row * 62 + 8, 28 + 400 + 36 :][:356]
        filled = (bar == bar[0]).all(axis=1).sum()
        assert abs(filled - 356 * score.probability) <= 1


def test_the_part_that_was_seen_is_marked_where_it_is_a_part() -> None:
    photograph = Image.new("RGB", (100, 100), "teal")
    shown = {
        seen: pixels(annotate(photograph, SCORES, title="t", caption="c", seen=seen))
        for seen in (None, (0, 0, 100, 100), (25, 0, 75, 100))
    }
    assert (shown[None] == shown[0, 0, 100, 100]).all()
    marked = (shown[25, 0, 75, 100] != shown[None]).any(axis=2)
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    assert (rows[0], rows[-1]) == (66, 465)
    assert (columns[0], columns[-1]) == (28 + 99, 28 + 300)
    assert listed(shown[25, 0, 75, 100][marked]) == {rgb(INK), WHITE}


def test_a_tiny_photograph_is_smooth_and_a_tiny_frame_of_events_is_not() -> None:
    events = recorded([(0, 0, 1)] * 5 + [(33, 33, 0)] * 5 + [(9, 5, 0), (9, 5, 1)])
    frame = events_image(events)
    squares = pixels(annotate(frame, SCORES, title="t", caption="c"))[66 + 13 :, 28 + 13 :]
    inside = squares[: 34 * 11, : 34 * 11].reshape(34, 11, 34, 11, 3)
    assert (inside == np.asarray(frame.convert("RGB"))[:, None, :, None]).all()
    photograph = pixels(annotate(frame.convert("RGB"), SCORES, title="t", caption="c"))
    assert len(listed(photograph[66:466, 28:428])) > 50


def test_boxes_are_drawn_on_squares() -> None:
    frame = events_image(recorded([(33, 33, 1)] * 5))
    drawn = pixels(draw_detections(frame, [], title="t", caption="c"))[66:, 28:]
    assert listed(drawn[33 * 26 : 34 * 26, 33 * 26 : 34 * 26]) == {RED}
    assert listed(drawn[: 33 * 26, : 34 * 26]) == {WHITE}


def recorded(events: list[tuple[int, int, int]]) -> Events:
    x, y, p = np.array(events, int).reshape(-1, 3).T
    times = np.arange(len(events))
    return Events.checked(times, x, y, p, sensor=(34, 34), where="test")


def test_all_events_are_one_picture_of_the_sensor() -> None:
    events = recorded([(0, 0, 1)] * 5 + [(33, 2, 0)] * 5 + [(9, 5, 0), (9, 5, 1)] * 3)
    frame = events_image(events).convert("RGB")
    assert frame.size == (34, 34)
    assert frame.getpixel((0, 0)) == RED
    assert frame.getpixel((33, 2)) == BLUE
    half = np.rint((np.array(RED) + BLUE) / 2).astype(int)
    assert frame.getpixel((9, 5)) == tuple(half.tolist())
    assert np.asarray(frame).reshape(-1, 3).tolist().count([255, 255, 255]) == 34 * 34 - 3
    assert listed(np.asarray(events_image(events.window(99, 99)).convert("RGB"))) == {WHITE}


def test_the_raster_shows_the_spikes(tiny_graph: Graph, images: NDArray[np.float32]) -> None:
    drawn = draw_raster(tiny_graph, simulate(tiny_graph, images[:1]))
    silent = draw_raster(tiny_graph, simulate(tiny_graph, images[:1] * 0))
    assert colours(drawn) > 50
    assert drawn != silent


def test_fewer_timesteps_give_another_raster(
    tiny_graph: Graph, images: NDArray[np.float32]
) -> None:
    pictures = [draw_raster(tiny_graph, simulate(tiny_graph, images[:1], k)) for k in (1, 4)]
    assert pictures[0] != pictures[1]


def test_idle_timesteps_take_no_room(tiny_graph: Graph, images: NDArray[np.float32]) -> None:
    sizes = set()
    for timesteps in (4, 200):
        drawn = draw_raster(tiny_graph, simulate(tiny_graph, images[:1], timesteps))
        with Image.open(io.BytesIO(drawn)) as picture:
            sizes.add(picture.size)
    assert len(sizes) == 1


@pytest.mark.parametrize("name", ["a$b^{c$d", "x" * 200, "猫"])
def test_a_layer_may_have_any_name(
    tiny_graph: Graph, images: NDArray[np.float32], name: str
) -> None:
    run = simulate(tiny_graph, images[:1])
    first = next(tiny_graph.select("integrate_fire"))
    nodes = tuple(replace(n, name=name) if n is first else n for n in tiny_graph.nodes)
    counts = {name if key == first.name else key: value for key, value in run.counts.items()}
    drawn = draw_raster(replace(tiny_graph, nodes=nodes), replace(run, counts=counts))
    assert colours(drawn) > 50


def timed_graph(steps: int) -> Graph:
    """``steps`` images, seen one after the other by three layers that remember."""
    builder = TimedBuilder(np.random.default_rng(3), 4, 1.0, "half_even")
    builder.timesteps, builder.spread = steps, 0
    x = builder.started((steps, 3, 4, 4), framed=True)
    for _ in range(3):
        x = builder.same(builder.neuron(x, norm=1.0), 4)
    return lower_content(builder.model((steps, 3, 4, 4), builder.mean(x)), "timed", "int8")


def test_every_real_timestep_has_a_column_of_its_spikes() -> None:
    graph = timed_graph(2)
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 4, 4)).astype(np.float32) * 3
    run = simulate(graph, x)
    drawn = pixels(draw_raster(graph, run))[123:]
    names = [node.name for node in graph.select("integrate_fire")]
    assert len(names) == 3
    line = 16 // run.levels
    band = max(run.levels * line, 9) + 5
    for row, name in enumerate(names):
        counts = run.counts[name][0].reshape(2, -1)
        assert counts.shape[1] < 108
        assert counts[0].tolist() != counts[1].tolist()
        for t in range(2):
            left = 262 + t * (108 + 3) * 3
            column = drawn[row * band : row * band + band - 5, left : left + 108 * 3]
            marks = (column == rgb(HUES[row])).all(axis=2)[::line, ::3][: run.levels]
            shown = marks.sum(axis=0)[: counts.shape[1]]
            assert shown.tolist() == counts[t].tolist()


@pytest.mark.parametrize("steps", [3, 64])
def test_a_layer_that_fires_once_goes_across(
    tiny_graph: Graph, images: NDArray[np.float32], steps: int
) -> None:
    run = simulate(tiny_graph, images[:1])
    names = [node.name for node in tiny_graph.select("integrate_fire")][1:]
    nodes = tuple(
        replace(n, output=replace(n.output, steps=steps)) if n.name in names else n
        for n in tiny_graph.nodes
    )
    counts = {
        name: np.repeat(value[:, None], steps, axis=1) if name in names else value
        for name, value in run.counts.items()
    }
    drawn = pixels(draw_raster(replace(tiny_graph, nodes=nodes), replace(run, counts=counts)))
    neurons = max(8, 223 // steps - 3)
    gap = drawn[123:-60, 262 + neurons * 3 : 262 + (neurons + 3) * 3]
    assert listed(gap[21:]) == {WHITE}
    assert WHITE not in listed(gap[:16])


def many_layers(graph: Graph, run: Run, count: int) -> tuple[Graph, Run]:
    first = next(graph.select("integrate_fire"))
    nodes = tuple(replace(first, name=f"model.{i}.Conv.lif1") for i in range(count))
    counts: dict[str, Any] = {node.name: run.counts[first.name] for node in nodes}
    return replace(graph, nodes=nodes), replace(run, counts=counts)


def test_ninety_layers_fit_on_a_page(tiny_graph: Graph, images: NDArray[np.float32]) -> None:
    graph, run = many_layers(tiny_graph, simulate(tiny_graph, images[:1]), 90)
    height, width, _ = pixels(draw_raster(graph, run)).shape
    assert height < 2100
    assert width < 1200


def test_bars_are_as_long_as_the_mean_counts(
    tiny_graph: Graph, images: NDArray[np.float32]
) -> None:
    run = simulate(tiny_graph, images[:1])
    drawn = pixels(draw_raster(tiny_graph, run))
    layers = sorted(tiny_graph.select("integrate_fire"), key=lambda node: int(node["window"]))
    means = [float(run.counts[node.name].mean()) for node in layers]
    for row, mean in enumerate(means):
        line = drawn[104 + row * 21 + 8, 262 + 660 + 26 :][:200]
        length = (line == rgb(HUES[row % 6])).all(axis=1).sum()
        assert abs(length - mean / max(means) / 1.22 * 200) <= 1


def test_a_network_without_neurons_has_an_empty_raster(
    tiny_graph: Graph, images: NDArray[np.float32]
) -> None:
    graph, run = many_layers(tiny_graph, simulate(tiny_graph, images[:1]), 0)
    assert pixels(draw_raster(graph, run)).shape[0] < 200


@pytest.mark.parametrize("bold", [False, True])
def test_our_fonts_have_the_letters_of_reports(bold: bool) -> None:
    box = written("猫", bold)
    letters = "AzÄßéñőşžĲΩαµμ≥≤≠×·…→√Σ∞²₀–“€"
    assert all((written(letter, bold) != box).any() for letter in letters)
    assert (written("ক", bold) == box).all()
    assert (written("a\n\ud83d\x1b", bold) == written("a???", bold)).all()


def written(text: str, bold: bool) -> NDArray[np.uint8]:
    page = Page(60, 30)
    page.text(5, 20, text, bold=bold)
    return np.asarray(page.image)


def test_fonts_are_small_and_come_with_their_licence() -> None:
    fonts = {
        file.name: len(file.read_bytes()) for file in resources.files("s2f_sim.fonts").iterdir()
    }
    assert {"DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "LICENSE_DEJAVU"} <= set(fonts)
    assert max(fonts.values()) < 120_000


def test_the_end_of_a_line_may_be_what_counts() -> None:
    cut = fitted("a.long.name.of.a.layer", 60, keep_end=True)
    assert cut.startswith("…")
    assert cut.endswith("layer")
    assert text_width(cut) <= 60


def test_classes_come_best_first_and_never_move_a_cursor() -> None:
    scores = top_classes(np.array([0.0, 3.0]), ["ant", "b\x1b[2Jee"])
    assert [score.label for score in scores] == ["b?[2Jee", "ant"]
    assert sum(score.probability for score in scores) == pytest.approx(1)
    assert top_classes(np.array([0.0, 3.0]), None)[0].label == "class 1"
