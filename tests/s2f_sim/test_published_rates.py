"""Energy from published rates: the products are the graph's own."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from s2f_deploy import Graph, S2FError
from s2f_sim.published_rates import Rate, energy_of_rates, read_rates
from s2f_sim.simulator import simulate

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "benchmarks" / "spike_yolo_23m_rates.csv"


def rates_of(graph: Graph, rate: float) -> list[Rate]:
    return [Rate(node.name, rate, None) for node in graph.select("integrate_fire")]


def test_measured_rates_give_the_papers_estimate_of_a_run(
    tiny_graph: Graph, images: NDArray[np.float32]
) -> None:
    run = simulate(tiny_graph, images[:1])
    emitted = {name: float(counts.mean()) for name, counts in run.counts.items()}
    rates = [Rate(name, mean, None) for name, mean in emitted.items()]
    bill = energy_of_rates(tiny_graph, rates)
    estimates = {layer.name: layer for layer in run.layers}
    for layer in bill.layers:
        done = estimates[layer.name]
        assert layer.mac == done.padded_mac
        if layer.rate is not None:
            assert layer.energy_pj == pytest.approx(0.9 * done.ac_meanfield, rel=1e-9)
    assert bill.stated_pj is None
    assert bill.dense_pj == pytest.approx(4.6 * sum(layer.mac for layer in bill.layers))


def test_the_published_table_adds_up_as_printed() -> None:
    rates = read_rates(PUBLISHED)
    assert len(rates) == 89
    stated = sum(0.9 * rate.rate * (rate.mac or 0) for rate in rates)
    assert stated / 1e9 == pytest.approx(34.489, abs=5e-4)


def test_products_of_the_table_are_added_up_beside_ours(tiny_graph: Graph) -> None:
    rates = [Rate(rate.neuron, 0.5, 1000.0) for rate in rates_of(tiny_graph, 0.5)]
    bill = energy_of_rates(tiny_graph, rates)
    assert bill.stated_pj == pytest.approx(0.9 * 0.5 * 1000 * len(rates))


def test_a_neuron_without_a_rate_is_named(tiny_graph: Graph) -> None:
    rates = rates_of(tiny_graph, 0.5)
    with pytest.raises(S2FError, match=rates[3].neuron):
        energy_of_rates(tiny_graph, rates[:3] + rates[4:])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "neuron,mac\na,1\n",
        "neuron,rate\na,\n",
        "neuron,rate\na,-1\n",
        "neuron,rate\na,nan\n",
        "neuron,rate,mac\na,1,many\n",
        "neuron,rate\n,1\n",
    ],
)
def test_what_is_no_table_of_rates(content: str, tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(content)
    with pytest.raises(S2FError, match="no table of rates"):
        read_rates(path)
    with pytest.raises(S2FError, match="no table of rates"):
        read_rates(tmp_path / "absent.csv")
