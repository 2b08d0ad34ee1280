"""Every kind of hostile checkpoint is one error, runs nothing, and takes no time and memory."""

import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import hostile_pickles as hostile
import numpy as np
import pytest
import torch
from hostile_pickles import (
    COMMAND,
    NAMESPACE,
    SYSTEM,
    TERABYTES,
    Content,
    getattr_of,
    model,
    number,
    storage,
    tensor,
    text,
    weight,
)

import s2f_models
from s2f_models import CheckpointError, load_checkpoint

_FAR = 100_000
_LONGEST_S, _ROOM_BYTES = 5.0, 1 << 28

KINDS: dict[str, tuple[Content, str]] = {
    # Code
    "os.system by REDUCE": (model(SYSTEM + COMMAND + b"\x85R"), r"names posix\.system"),
    "os.system by NEWOBJ": (model(SYSTEM + COMMAND + b"\x85\x81"), r"names posix\.system"),
    "os.system by OBJ": (model(b"(" + SYSTEM + COMMAND + b"o"), r"names posix\.system"),
    "os.system by INST": (model(b"(" + COMMAND + b"iposix\nsystem\n"), "opcode INST"),
    "a real class by INST": (model(b"(iargparse\nNamespace\n"), "opcode INST"),
    "a real class by OBJ": (model(b"(" + NAMESPACE + b"o"), "opcode OBJ"),
    "a real class by NEWOBJ_EX": (model(NAMESPACE + b")}\x92"), "opcode NEWOBJ_EX"),
    "a stranger's class by NEWOBJ_EX": (
        model(b"csubprocess\nPopen\n" + COMMAND + b"\x85}\x92"),
        r"names subprocess\.Popen",
    ),
    "builtins.eval": (model(b"c__builtin__\neval\n" + COMMAND + b"\x85R"), r"names builtins\.eval"),
    "a dotted name by STACK_GLOBAL": (
        model(text("models") + text("os.system") + b"\x93"),
        r"names models\.os\.system",
    ),
    "a class of a class by STACK_GLOBAL": (
        model(text("os") + text("path.__class__") + b"\x93"),
        r"names os\.path\.__class__",
    ),
    "a dotted name by GLOBAL": (model(b"ctorch\nnn.os.system\n"), r"names torch\.nn\.os\.system"),
    "a dunder of an allowed package": (
        model(b"ctorch.nn\n__builtins__\n"),
        r"names torch\.nn\.__builtins__",
    ),
    "getattr of getattr": (
        model(getattr_of(getattr_of(NAMESPACE, "mro"), "pop")),
        r"names builtins\.getattr",
    ),
    "getattr of a dunder": (model(getattr_of(NAMESPACE, "__init__")), r"names builtins\.getattr"),
    "a call of what getattr gave": (
        model(getattr_of(NAMESPACE, "mro") + b")R"),
        "calls something that is no class",
    ),
    "__setstate__ put in by BUILD": (
        model(NAMESPACE + b")R}" + text("__setstate__") + SYSTEM + b"sb" + COMMAND + b"b"),
        r"names posix\.system",
    ),
    "__setstate__ of a real class": (
        model(b"ctorch.nn.modules.module\nModule\n)\x81" + hostile.dictionary({"x": b"N"}) + b"b"),
        r"whole pickled object of class torch\.nn\.modules\.module\.Module",
    ),
    "__setstate__ of a function": (
        model(b"ctorch.nn\nModule\n}b"),
        "sets the state of something that has none",
    ),
    "a class of the extension registry": (model(b"\x82\x01"), "opcode EXT1"),
    "a buffer from outside": (model(b"\x97"), "opcode NEXT_BUFFER"),
    "a name in control characters": (
        model(text("posix") + text("\x1b]0;x\x07\n\u202esystem") + b"\x93"),
        r"names posix\.\\x1b\]0;x\\x07\\n\\u202esystem",
    ),
    # Sizes
    "a storage of terabytes": (
        weight(tensor([4], [1], stored=storage(number(TERABYTES)))),
        "storage 0 are missing or cut off",
    ),
    "a storage of less than nothing": (
        weight(tensor([4], [1], stored=storage(number(-4)))),
        "refers to outside objects",
    ),
    "a storage of 2 to the 2,000": (
        weight(tensor([4], [1], stored=storage(number(1 << 2000)))),
        "refers to outside objects",
    ),
    "a storage in another folder": (
        weight(tensor([4], [1], stored=storage(number(4), "../../etc/passwd"))),
        r"storage \.\./\.\./etc/passwd are missing",
    ),
    "an id that is no storage": (weight(text("file:///etc/passwd") + b"Q"), "outside objects"),
    "strides beyond the storage": (weight(tensor([2, 2], [1 << 40, 1])), "reaches to element"),
    "an offset beyond the storage": (weight(tensor([1], [1], 1 << 40)), "reaches to element"),
    "a negative size": (weight(tensor([-4], [1])), "no plain count"),
    "a negative stride": (weight(tensor([4], [-1], 3)), "no plain count"),
    "a negative offset": (weight(tensor([4], [1], -1)), "no plain count"),
    "a size that overflows": (weight(tensor([1 << 40] * 3, [0] * 3)), "more elements than any"),
    "a size of 2,000 bits": (weight(tensor([1 << 2000], [0])), "no plain count"),
    "a thousand axes": (weight(tensor([1] * 1000, [1] * 1000)), "do not belong together"),
    "sizes without strides": (weight(tensor([2, 2], [1])), "do not belong together"),
    "strides of zero": (weight(tensor([1 << 20, 1 << 20], [0, 0])), "weights would take"),
    "one storage for all tensors": (hostile.everything_shared, "weights would take"),
    "a thousand blocks": (hostile.many_blocks, "block3 has 1000 blocks"),
    "one list of parameters for all layers": (hostile.absent_layers, "more layers than any"),
    "a network inside itself": (hostile.own_ancestor, "contains itself"),
    "a text of exabytes": (model(b"\x8d" + b"\xff" * 7 + b"\x0f"), "damaged or no checkpoint"),
    "bytes of exabytes": (model(b"\x8e" + b"\xff" * 7 + b"\x0f"), "damaged or no checkpoint"),
    "a memo of gigabytes": (model(b"Nr\xff\xff\xff\xff"), "no state dict in here"),
    "a number of megabytes": (
        model(b"\x8b\0\0\x10\0" + bytes(1 << 20)),
        "opcode LONG4",
    ),
    # Nesting
    "tuples in tuples": (model(b")" + b"\x85" * _FAR), "no state dict in here"),
    "lists in lists": (model(b"]" * _FAR + b"a" * (_FAR - 1)), "no state dict in here"),
    "objects in objects": (model(hostile.reduced(_FAR // 10)), "no state dict in here"),
    "tuples in tuples as a key": (model(b"})" + b"\x85" * _FAR + b"Ns"), "container as a .* key"),
    "marks in marks": (model(b"(" * _FAR + b"1" * _FAR), "damaged or no checkpoint"),
    "a tuple twice in a tuple, 200 times": (
        model(hostile.doubled(200)),
        "no state dict in here",
    ),
    "the same as a key": (model(b"}" + hostile.doubled(200) + b"Ns"), "container as a .* key"),
    "the same as the shape of a tensor": (
        weight(
            b"ctorch._utils\n_rebuild_tensor_v2\n"
            + hostile.several(storage(number(4)), b"K\x00", hostile.doubled(60), b"K\x01K\x01\x86")
            + b"R"
        ),
        "no plain count",
    ),
    "ten lists in ten lists, 100 times": (
        model(hostile.laughing_lists(100)),
        "no state dict in here",
    ),
    "a chain of DUP": (model(b"]" + b"2" * _FAR), "opcode DUP"),
    "more taken than there is": (model(b"\x87" * 3), "takes more from the stack"),
    # Containers
    "a pickle that is cut": (hostile.cut_pickle, "damaged or no checkpoint"),
    "an archive that is cut": (lambda: hostile.good()[:-40], "damaged or no checkpoint"),
    "two members of one name": (hostile.twice, r"two members|2 members"),
    "a bomb": (hostile.bomb, "is compressed or encrypted"),
    "a bomb that says it is none": (hostile.hidden_bomb, "larger than the archive"),
    "another byte order": (lambda: hostile.archive(b"}", order=b"big"), "little-endian"),
    "another byte order, old container": (hostile.old_and_big_endian, "not little-endian"),
    "a storage of terabytes, old container": (hostile.old_and_endless, "missing or cut off"),
    "control characters as a key": (
        lambda: hostile.archive(hostile.dictionary({"\x1b[2J\u202e\udcff": b"N"})),
        r"the keys \\x1b\[2J\\u202e\\udcff",
    ),
    "a weight in control characters": (
        lambda: hostile.archive(hostile.dictionary({"a.b": tensor([4], [1]), "\x1b[2J\r.c": b"N"})),
        r"the entry \\x1b\[2J\\r\.c of the state dict is no tensor",
    ),
}

_FORBIDDEN = ("os.", "shutil.", "subprocess.", "socket.", "ctypes.", "pickle.", "exec", "import")
_heard: list[str] | None = None


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if _heard is not None and event.startswith((*_FORBIDDEN, "open")):
        _heard.append(f"{event} {arguments!r:.200}")


# There is no way to take a hook away again; it hears nothing outside of these tests.
sys.addaudithook(_listen)


@contextmanager
def heard() -> Iterator[list[str]]:
    """What the interpreter is asked to do inside."""
    global _heard  # noqa: PLW0603 (a hook has no other way to be told)
    _heard = []
    try:
        yield _heard
    finally:
        _heard = None


class TooLongError(BaseException):
    """Nothing that catches every Exception catches this."""


def _give_up(_: int, __: FrameType | None) -> None:
    raise TooLongError


@contextmanager
def limited() -> Iterator[None]:
    """End with an error where something takes seconds of work or hundreds of megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    room = pages * resource.getpagesize() + _ROOM_BYTES
    before = signal.signal(signal.SIGPROF, _give_up)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (room, hard))
        signal.setitimer(signal.ITIMER_PROF, 4 * _LONGEST_S)
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, before)


@pytest.fixture(scope="module", autouse=True)
def _warmed_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is imported on first use is imported before anything is measured."""
    path = tmp_path_factory.mktemp("good") / "x.pt"
    network = s2f_models.create("e_spikeformer_cifar10", embed_dims=hostile.SMALL, depths=(1, 1))
    torch.save(network.state_dict(), path)
    load_checkpoint(path)
    path.write_bytes(hostile.good())
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_checkpoint_is_one_error(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, message = KINDS[kind]
    path, empty = tmp_path / "x.pt", tmp_path / "empty"
    path.write_bytes(made())
    empty.mkdir()
    monkeypatch.chdir(empty)
    began = time.process_time()
    with limited(), heard() as events, pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert time.process_time() - began < _LONGEST_S
    assert caught.value.where == str(path)
    assert caught.value.fix
    told = str(caught.value).removesuffix(caught.value.fix).replace(str(path), "")
    assert told.isascii()
    assert len(told) < 500
    assert not list(empty.iterdir())
    assert [event for event in events if not event.startswith(f"open ({str(path)!r}, 'r")] == []


def test_memory_that_is_asked_for_is_noticed() -> None:
    """The limits above are limits."""
    with limited(), pytest.raises(MemoryError):
        np.empty(4 * _ROOM_BYTES, np.uint8)
    assert np.empty(4 * _ROOM_BYTES, np.uint8).size == 4 * _ROOM_BYTES
