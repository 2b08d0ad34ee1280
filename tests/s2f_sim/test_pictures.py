import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from s2f_deploy import Graph
from s2f_sim import simulate
from s2f_sim.annotate import annotate
from s2f_sim.prediction import top_classes
from s2f_sim.raster import draw_raster


def colours(content: bytes) -> int:
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        listed = picture.convert("RGB").getcolors(1 << 24)
    assert listed is not None
    return len(listed)


@pytest.mark.parametrize("size", [(32, 32), (451, 300), (40, 2000), (2000, 40)])
@pytest.mark.parametrize("label", ["cat", "a name of a class that goes on and on " * 4, "猫$x^2$"])
def test_the_answer_is_drawn_whatever_the_photograph(size: tuple[int, int], label: str) -> None:
    scores = top_classes(np.array([2.0, 1.0, 0.0]), [label, "dog", "frog"])
    photograph = Image.new("RGB", size, "teal")
    assert colours(annotate(photograph, scores, title="t", caption="c", seen=(0, 0, 9, 9))) > 20


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


def test_classes_come_best_first_and_never_move_a_cursor() -> None:
    scores = top_classes(np.array([0.0, 3.0]), ["ant", "b\x1b[2Jee"])
    assert [score.label for score in scores] == ["b?[2Jee", "ant"]
    assert sum(score.probability for score in scores) == pytest.approx(1)
    assert top_classes(np.array([0.0, 3.0]), None)[0].label == "class 1"
