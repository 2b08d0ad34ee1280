from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from s2f_models.layer_table import Row, changed_table, published_table, read_table
from s2f_models.stand_in import RefusedError

Yaml = dict[object, Any]


def as_yaml(table: tuple[Row, ...] = published_table(), timesteps: int = 1) -> Yaml:
    """The table as the official yaml file writes it."""
    written: dict[str, list[object]] = {
        "nn.Upsample": ["None", "(1,2,2)", "nearest"],
        "Concat": [2],
        "SpikeDetect": ["nc"],
    }
    rows: list[list[object]] = []
    for i, row in enumerate(table):
        args = written.get(row.kind, [int(x) if x == int(x) else x for x in row.args])
        if row.kind == "MS_GetT":
            args = [3, timesteps]
        if row.kind == "MS_DownSampling":
            args = [*args[:4], bool(args[4])]
        sources: list[object] = [s - i if s == i - 1 else s for s in row.sources]
        rows.append([sources if len(sources) > 1 else sources[0], row.repeats, row.kind, args])
    return {"backbone": rows[:10], "head": rows[10:]}


@pytest.mark.parametrize(
    "table", [published_table(), published_table(1), published_table(last_ratio=2)]
)
def test_written_table_is_read(table: tuple[Row, ...]) -> None:
    assert read_table(as_yaml(table, 4)) == (table, 4)


def test_changed_rows_keep_their_sources() -> None:
    table = changed_table(published_table(), {24 + 1: (2, (0.5, 3))})
    assert table[25] == Row((24,), 2, "MS_ConvBlock", (0.5, 3))
    assert table[:25] == published_table()[:25]


def set_row(index: int, column: int, value: object) -> Callable[[Yaml], None]:
    def change(yaml: Yaml) -> None:
        rows = yaml["backbone"] if index < 10 else yaml["head"]
        rows[index % 10 if index < 10 else index - 10][column] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y.clear(),
        lambda y: y.update(backbone="x"),
        lambda y: y.update(backbone=[], head=[]),
        lambda y: y.update(backbone=y["backbone"] * 100),
        lambda y: y["head"].pop(),
        lambda y: y["backbone"].pop(0),
        lambda y: y["head"].append(y["head"][-1]),
        lambda y: y["head"].append("row"),
        lambda y: y["head"].append([-1, 1, "MS_ConvBlock"]),
        set_row(2, 2, "Conv"),
        set_row(2, 2, 7),
        set_row(2, 1, 0),
        set_row(2, 1, 10**9),
        set_row(2, 1, True),
        set_row(3, 1, 2),
        set_row(2, 1, "3"),
        set_row(2, 0, 2),
        set_row(2, 0, 26),
        set_row(2, 0, -3),
        set_row(2, 0, [1, 0]),
        set_row(2, 0, []),
        set_row(2, 0, "image"),
        set_row(2, 0, 1.0),
        set_row(13, 0, -1),
        set_row(13, 0, [-1, 4]),
        set_row(13, 0, [-1] * 1000),
        set_row(26, 0, [19, 22]),
        set_row(26, 0, [22, 19, 25]),
        set_row(0, 3, [3, 0]),
        set_row(0, 3, [3, 10**9]),
        set_row(0, 3, [3]),
        set_row(1, 3, [10**9, 7, 4, 2, True]),
        set_row(1, 3, [128, 7, 4, 2]),
        set_row(1, 3, [128, 7.5, 4, 2, True]),
        set_row(1, 3, [128, 7, 4, 2, "True"]),
        set_row(2, 3, [4, 6]),
        set_row(2, 3, [0.01, 7]),
        set_row(2, 3, [float("nan"), 7]),
        set_row(2, 3, [float("inf"), 7]),
        set_row(2, 3, [1000, 7]),
        set_row(9, 3, [1024, 4]),
        set_row(9, 3, [1024]),
        set_row(11, 3, ["None", "(1,4,4)", "nearest"]),
        set_row(11, 3, ["None", "__import__('os')", "nearest"]),
        set_row(11, 3, ["None", "(1,2,2)", "bilinear"]),
        set_row(13, 3, [1]),
        set_row(20, 3, [256, 3, 1]),
    ],
)
def test_impossible_table_is_refused(change: Callable[[Yaml], None]) -> None:
    yaml = deepcopy(as_yaml())
    change(yaml)
    with pytest.raises(RefusedError):
        read_table(yaml)
