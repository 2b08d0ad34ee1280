import pytest

from s2f_deploy import Graph, S2FError
from s2f_deploy.ir.text import parse_graph, print_graph


def test_print_then_parse_is_identity(tiny_graph: Graph) -> None:
    parsed = parse_graph(print_graph(tiny_graph))
    assert parsed.nodes == tiny_graph.nodes
    assert (parsed.name, parsed.level) == (tiny_graph.name, tiny_graph.level)
    assert print_graph(parsed) == print_graph(tiny_graph)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "graph net nowhere\n",
        "graph net event\n  %x: float32[3] = input()\n",
        "graph net event\n  %x: complex[3] = input() {}  # x\n",
        "graph net event\n  %x: float32[3] = input() {1: 2}  # x\n",
        "__import__('os').system('true')\n",
    ],
)
def test_anything_else_is_one_error_that_names_the_line(text: str) -> None:
    with pytest.raises(S2FError, match=r"line \d"):
        parse_graph(text)
