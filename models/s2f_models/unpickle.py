"""A reader of pickles that runs nothing they name.

Not a subclass of ``pickle.Unpickler``: that one calls whatever it has found, lets a file change
attributes of what was found, takes classes from the process-wide extension registry unasked,
and reserves memory for whatever index a file mentions. Here the standard disassembler splits
the file into opcodes, and each opcode in the table below builds plain containers,
``StoredTensor`` or ``StandIn`` objects. Memory and time are linear in the length of the pickle.

Source: opcodes as documented in CPython ``Lib/pickletools.py``.
"""

import pickletools
from collections.abc import Callable, Iterable
from typing import IO, Any

from s2f_models.constructors import construct, hashable
from s2f_models.stand_in import RefusedError, StandIn, named
from s2f_models.stored_tensor import StoredTensor


class _Machine:
    """The stack, the stacks set aside by MARK, and the memo."""

    def __init__(self, persistent: Callable[[object], object]) -> None:
        self.persistent = persistent
        self.stack: list[object] = []
        self.marked: list[list[object]] = []
        self.memo: dict[int, object] = {}

    def pop(self, count: int) -> list[object]:
        """The last ``count`` values, in the order in which they were pushed."""
        values = self.stack[-count:]
        if len(values) != count:
            raise RefusedError("the file takes more from the stack than it has put there")
        del self.stack[-count:]
        return values

    def pop_to_mark(self) -> list[object]:
        """What was pushed since the last MARK."""
        values, self.stack = self.stack, self.marked.pop()
        return values

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def drop_to_mark(self) -> None:
        self.stack = self.marked.pop()

    def discard(self) -> None:
        """POP: the last value, or the last MARK if nothing has been pushed since."""
        if self.stack:
            self.stack.pop()
        else:
            self.drop_to_mark()

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def push_tuple(self, values: list[object]) -> None:
        self.stack.append(tuple(values))

    def push_frozenset(self, values: list[object]) -> None:
        self.stack.append(frozenset(hashable(value) for value in values))

    def push_named(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise RefusedError("the file names a class by something that is no text")
        self.stack.append(named(module, name))

    def call(self) -> None:
        callee, args = self.pop(2)
        self.stack.append(construct(callee, args))

    def refer(self) -> None:
        """BINPERSID: an object kept outside of the pickle, a storage."""
        (persistent_id,) = self.pop(1)
        self.stack.append(self.persistent(persistent_id))

    def build(self) -> None:
        (state,) = self.pop(1)
        match self.stack[-1]:
            case StandIn() as target:
                target.state = state
            case dict() | StoredTensor():
                # An OrderedDict's attributes (torch's _metadata) or a tensor's: not values.
                pass
            case _:
                raise RefusedError("the file sets the state of something that has none")

    def extend(self, values: list[object]) -> None:
        match self.stack[-1]:
            case StandIn() as target:
                target.items.extend(values)
            case list() as target:
                target.extend(values)
            case _:
                raise RefusedError("the file appends to something that is no list")

    def update(self, values: list[object]) -> None:
        pairs = zip(values[::2], values[1::2], strict=True)
        match self.stack[-1]:
            case StandIn() as target:
                target.items.extend(pairs)
            case dict() as target:
                for key, value in pairs:
                    target[hashable(key)] = value
            case _:
                raise RefusedError("the file sets items of something that is no dictionary")

    def add(self, members: Iterable[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, set):
            raise RefusedError("the file adds members to something that is no set")
        target.update(hashable(member) for member in members)


_LITERALS = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)
# Each entry takes the machine and the opcode's decoded argument. What is not listed
# (protocols 0 and 1, integers of over 255 bytes, the extension registry, out-of-band buffers)
# torch.save does not write.
_OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda *_: None,
    "FRAME": lambda *_: None,
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    **dict.fromkeys(_LITERALS, lambda machine, value: machine.stack.append(value)),
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.discard(),
    "POP_MARK": lambda machine, _: machine.drop_to_mark(),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE": lambda machine, _: machine.push_tuple(machine.pop_to_mark()),
    "TUPLE1": lambda machine, _: machine.push_tuple(machine.pop(1)),
    "TUPLE2": lambda machine, _: machine.push_tuple(machine.pop(2)),
    "TUPLE3": lambda machine, _: machine.push_tuple(machine.pop(3)),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "APPEND": lambda machine, _: machine.extend(machine.pop(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "SETITEM": lambda machine, _: machine.update(machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.update(machine.pop_to_mark()),
    "EMPTY_SET": lambda machine, _: machine.stack.append(set()),
    "ADDITEMS": lambda machine, _: machine.add(machine.pop_to_mark()),
    "FROZENSET": lambda machine, _: machine.push_frozenset(machine.pop_to_mark()),
    "BINPUT": lambda machine, index: machine.remember(index),
    "LONG_BINPUT": lambda machine, index: machine.remember(index),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    "BINGET": lambda machine, index: machine.recall(index),
    "LONG_BINGET": lambda machine, index: machine.recall(index),
    "GLOBAL": lambda machine, names: machine.push_named(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.push_named(*machine.pop(2)),
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.refer(),
}


def read_pickle(stream: IO[bytes], persistent: Callable[[object], object]) -> object:
    """Read one pickle, leaving ``stream`` behind its last byte.

    Args:
        stream: open on the pickle.
        persistent: gives the object that an id in the file stands for.

    Returns:
        Containers and plain values as they are, tensors as ``StoredTensor``, classes and
        functions as ``Named``, everything else as ``StandIn``.

    Raises:
        RefusedError: the pickle holds what no checkpoint has.
        Exception: whatever a damaged pickle makes the disassembler or a container raise.
    """
    machine = _Machine(persistent)
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "STOP":
            break
        if opcode.name not in _OPCODES:
            raise RefusedError(f"the file uses the pickle opcode {opcode.name}, unlike torch.save")
        _OPCODES[opcode.name](machine, argument)
    (value,) = machine.pop(1)
    return value
