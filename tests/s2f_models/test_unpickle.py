"""The pickle machine: what it builds, and that nothing a pickle names ever runs."""

import argparse
import os
import pickle
import struct
import subprocess
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2f_models.stand_in import Named, RefusedError, StandIn
from s2f_models.unpickle import read_pickle

HEADER = b"\x80\x02"


def no_object(persistent_id: object) -> object:
    raise AssertionError(persistent_id)


def read(content: bytes) -> object:
    return read_pickle(BytesIO(content), no_object)


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


atoms = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()
)
plain = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(st.one_of(st.text(), st.tuples(st.text(), st.integers())), inner),
        st.sets(st.integers()),
        st.frozensets(st.text()),
    ),
)


@given(plain, st.sampled_from([4, 5]))
def test_plain_values_are_read_back(value: object, protocol: int) -> None:
    assert read(pickle.dumps(value, protocol)) == value


def test_containers_of_checkpoints_become_plain_ones() -> None:
    value = {
        "ordered": OrderedDict(a=1, b=[2]),
        "default": defaultdict(list, c=[3]),
        "counter": Counter("aab"),
        "set": {1, 2},
    }
    for protocol in (2, 4):
        assert read(pickle.dumps(value, protocol)) == value


def test_recursive_list_is_read() -> None:
    value: list[object] = []
    value.append((value,))
    again = read(pickle.dumps(value, 2))
    assert isinstance(again, list)
    assert again[0][0] is again


def test_namespace_is_a_stand_in_with_its_attributes() -> None:
    args = argparse.Namespace(lr=0.1, output=Path("runs"))
    for protocol in (2, 4):
        read_args = read(pickle.dumps(args, protocol))
        assert isinstance(read_args, StandIn)
        assert str(read_args.named) == "argparse.Namespace"
        assert isinstance(read_args.state, dict)
        assert read_args.state["lr"] == 0.1
        assert isinstance(read_args.state["output"], StandIn)
        assert read_args.state["output"].args == ("runs",)


def test_subclassed_containers_keep_their_items() -> None:
    new = b"cmmengine.config\nConfigDict\n)\x81"
    pairs = read(HEADER + new + b"(" + text("a") + b"K\x01u.")
    values = read(HEADER + new + b"(K\x01K\x02e.")
    assert isinstance(pairs, StandIn)
    assert isinstance(values, StandIn)
    assert pairs.items == [("a", 1)]
    assert values.items == [1, 2]


def test_class_itself_is_only_a_name() -> None:
    assert read(HEADER + b"cultralytics.nn.tasks\nDetectionModel\n.") == Named(
        "ultralytics.nn.tasks", "DetectionModel"
    )


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.reduced = (function, args)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.reduced


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        ((os.system, "touch sentinel"), r"posix\.system"),
        ((eval, "open('sentinel', 'w')"), "builtins.eval"),
        ((exec, "open('sentinel', 'w')"), "builtins.exec"),
        ((open, "sentinel", "w"), r"io\.open"),
        ((getattr, "", "join"), "builtins.getattr"),
        ((__import__, "os"), "builtins.__import__"),
        ((subprocess.Popen, ["touch", "sentinel"]), r"(subprocess|commands)\.Popen"),
        ((os.fspath, "sentinel"), "posix.fspath"),
    ],
)
def test_dangerous_name_is_refused(
    protocol: int,
    call: tuple[Callable[..., object], *tuple[object, ...]],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps([{"model": (Calls(*call),)}], protocol)
    with pytest.raises(RefusedError, match=f"names {name}, which this reader never runs"):
        read(content)
    assert not list(tmp_path.iterdir())


SYSTEM = b"cposix\nsystem\n"
COMMAND = text("touch sentinel")
NAMESPACE = b"cargparse\nNamespace\n"


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(SYSTEM + COMMAND + b"\x85R.", id="reduce"),
        pytest.param(SYSTEM + COMMAND + b"\x85\x81.", id="newobj"),
        pytest.param(b"(iposix\nsystem\n.", id="inst"),
        pytest.param(b"(" + SYSTEM + COMMAND + b"o.", id="obj"),
        pytest.param(
            NAMESPACE + b")R}" + text("__setstate__") + SYSTEM + b"sb" + COMMAND + b"b.",
            id="setstate",
        ),
        pytest.param(NAMESPACE + b"N}" + text("__new__") + SYSTEM + b"s\x86b.", id="slots"),
        pytest.param(text("models.os") + text("path.os.system") + b"\x93.", id="dotted name"),
        pytest.param(b"cmodels.os\nsystem.__call__\n.", id="dotted global"),
        pytest.param(b"c__main__\n__builtins__\n.", id="dunder"),
        pytest.param(b"cargparse\n_sys\n.", id="module in an allowed module"),
        pytest.param(b"ctorch.hub\nload\n.", id="torch function"),
        pytest.param(b"ctorch.serialization\nload\n.", id="torch load"),
        pytest.param(b"cnumpy.f2py.crackfortran\nmyeval\n.", id="numpy function"),
        pytest.param(b"cmodelsx\nA\n.", id="prefix of another package"),
        pytest.param(b"c\nsystem\n.", id="no module"),
        pytest.param(b"cmodels\n" + b"A" * 1000 + b"\n.", id="long name"),
        pytest.param(b"K\x01K\x02\x93.", id="name that is no text"),
        pytest.param(b"\x82\x01.", id="extension registry"),
        pytest.param(b"\x97.", id="out of band buffer"),
        pytest.param(COMMAND + COMMAND + b"\x85R.", id="call of a text"),
        pytest.param(NAMESPACE + b")R)R.", id="call of a stand-in"),
        pytest.param(NAMESPACE + b"K\x01R.", id="arguments that are no tuple"),
        pytest.param(b"]}b.", id="state of a list"),
        pytest.param(b"K\x01K\x02a.", id="append to a number"),
        pytest.param(b"]K\x01K\x02s.", id="item of a list"),
        pytest.param(b"](K\x01\x90.", id="member of a list"),
        pytest.param(b"}](K\x01tK\x01s.", id="list as a key"),
        pytest.param(b"}K\x01\x85\x85\x85K\x01s.", id="nested tuple as a key"),
        pytest.param(b"c__builtin__\nset\n]]a\x85R.", id="set of a list"),
        pytest.param(b"c__builtin__\nset\nK\x01\x85R.", id="set of no list"),
        pytest.param(b"ccollections\nOrderedDict\nK\x01\x85R.", id="dictionary of a number"),
        pytest.param(b"ctorch\nSize\nK\x01\x85R.", id="size of a number"),
        pytest.param(
            b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00(h\x00h\x00)NtR.", id="self call"
        ),
        pytest.param(b"ctorch._utils\n_rebuild_tensor_v2\n)R.", id="tensor of nothing"),
        pytest.param(b"\x85.", id="empty stack"),
        pytest.param(b".", id="nothing"),
    ],
)
def test_program_no_checkpoint_has_is_refused(
    program: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefusedError):
        read(HEADER + program)
    assert not list(tmp_path.iterdir())


def test_names_are_safe_to_print() -> None:
    with pytest.raises(RefusedError) as caught:
        read(HEADER + text("posix") + text("\x1b[31msystem\x9b") + b"\x93.")
    assert caught.value.what.isascii()
    assert caught.value.what.isprintable()


def test_large_memo_index_takes_no_memory() -> None:
    assert read(HEADER + b"K\x01r\xff\xff\xff\xff0j\xff\xff\xff\xff.") == 1


def test_deep_nesting_is_no_recursion() -> None:
    depth = 300_000
    value = read(HEADER + b")" + b"\x85" * depth + b".")
    for _ in range(depth):
        assert isinstance(value, tuple)
        (value,) = value
    assert value == ()


def test_list_is_not_copied_over_and_over() -> None:
    """A set takes its list along, else each of a million opcodes could copy a million items."""
    shared = b"(]q\x00(" + b"K\x01" * 10 + b"e\x85q\x01"
    first, second = b"c__builtin__\nset\nh\x01R", b"c__builtin__\nset\nh\x01R"
    assert read(HEADER + shared + first + second + b"t.") == (([],), {1}, set())


def test_reader_stops_behind_the_pickle() -> None:
    stream = BytesIO(pickle.dumps([1], 2) + b"rest")
    assert read_pickle(stream, no_object) == [1]
    assert stream.read() == b"rest"
