import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import s2f_deploy
from s2f_deploy import Graph, S2FError


def test_load_gives_back_what_was_saved(tiny_graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.s2f"
    s2f_deploy.save(tiny_graph, path)
    loaded = s2f_deploy.load(path)
    assert loaded.nodes == tiny_graph.nodes
    assert loaded.reference == tiny_graph.reference
    assert loaded.metadata == tiny_graph.metadata
    assert loaded.params.keys() == tiny_graph.params.keys()
    for name, array in tiny_graph.params.items():
        np.testing.assert_array_equal(loaded.params[name], array)
        assert not loaded.params[name].flags.writeable
    first = path.read_bytes()
    s2f_deploy.save(loaded, path)
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_saving_into_nowhere_leaves_nothing(tiny_graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(S2FError, match="cannot write"):
        s2f_deploy.save(tiny_graph, tmp_path / "absent" / "net.s2f")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"0" * 5000])
def test_a_foreign_file_is_one_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.s2f"
    path.write_bytes(content)
    with pytest.raises(S2FError, match="no artefact"):
        s2f_deploy.load(path)


def test_a_missing_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(S2FError, match="No such file"):
        s2f_deploy.load(tmp_path / "absent.s2f")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_one_error_or_harmless(
    data: st.DataObject, tiny_artefact: Path, tmp_path: Path
) -> None:
    content = bytearray(tiny_artefact.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged.s2f"
    path.write_bytes(content)
    # A flipped bit that the zip format ignores (a date, say) may load the same network.
    try:
        loaded = s2f_deploy.load(path)
    except S2FError:
        return
    assert loaded.nodes == s2f_deploy.load(tiny_artefact).nodes


def test_integers_and_their_pictures_come_back(tiny_integers: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.s2f"
    s2f_deploy.save(tiny_integers, path)
    loaded = s2f_deploy.load(path)
    assert loaded.deployed == tiny_integers.deployed
    assert loaded.calibration is not None
    assert tiny_integers.calibration is not None
    np.testing.assert_array_equal(loaded.calibration, tiny_integers.calibration)
    for name, array in tiny_integers.params.items():
        assert loaded.params[name].dtype == array.dtype


def test_pictures_are_never_unpickled(tiny_integers: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.s2f"
    for pictures in (np.array([[None]]), np.zeros((2, 2)), np.zeros((0, 8, 8, 3), np.uint8)):
        s2f_deploy.save(tiny_integers, path)
        with zipfile.ZipFile(path) as members:
            content = {name: members.read(name) for name in members.namelist()}
        file = io.BytesIO()
        np.save(file, pictures, allow_pickle=True)
        with zipfile.ZipFile(path, "w") as members:
            for name, data in (content | {"calibration.npy": file.getvalue()}).items():
                members.writestr(name, data)
        with pytest.raises(S2FError, match="no artefact"):
            s2f_deploy.load(path)


def test_pictures_in_another_order_of_memory(tiny_integers: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.s2f"
    pictures = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(6, 4, 2, 3).transpose(2, 1, 0, 3)
    s2f_deploy.save(replace(tiny_integers, calibration=pictures), path)
    loaded = s2f_deploy.load(path).calibration
    assert loaded is not None
    np.testing.assert_array_equal(loaded, pictures)


def test_a_network_of_zeros_is_no_bomb(tiny_integers: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.s2f"
    zeros = bytes((1 << 24) + (1 << 20))
    s2f_deploy.save(replace(tiny_integers, reference=zeros), path)
    assert s2f_deploy.load(path).reference == zeros
    with zipfile.ZipFile(path) as members:
        content = {name: members.read(name) for name in members.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members:
        for name, data in content.items():
            members.writestr(name, data)
    with pytest.raises(S2FError, match=r"claims 17,825,792 bytes"):
        s2f_deploy.load(path)
