"""Words of vector IR that the intrinsics of this package are spelled with.

LLVM lowers the same IR to AVX-512, AVX2 or NEON. Addresses count elements from an array's first.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types

I64 = ir.IntType(64)
_I32 = ir.IntType(32)
Body = Callable[[Any, list[Any]], list[Any]]


def pointers(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    """The arguments of an intrinsic, arrays as pointers to their first element."""
    return [
        context.make_array(kind)(context, builder, value).data
        if isinstance(kind, types.Array)
        else value
        for kind, value in zip(signature.args, args, strict=True)
    ]


def members(context: Any, builder: Any, kind: Any, value: Any) -> dict[str, Any]:
    """The fields of a NamedTuple by name, arrays as their structs of ``data``, ``shape``, ..."""
    found = {}
    for number, (name, field) in enumerate(zip(kind.fields, kind.types, strict=True)):
        member = builder.extract_value(value, number)
        if isinstance(field, types.Array):
            member = context.make_array(field)(context, builder, member)
        found[name] = member
    return found


def element_bytes(element: Any) -> int:
    """Size of an integer or of a float32."""
    return 4 if isinstance(element, ir.FloatType) else int(element.width) // 8


def extent(builder: Any, array: Any, axis: int) -> Any:
    """How long an array is along one axis, of its struct."""
    return builder.extract_value(array.shape, axis)


def _vector_at(builder: Any, pointer: Any, at: Any, lanes: int) -> Any:
    vector = ir.VectorType(pointer.type.pointee, lanes)
    return builder.bitcast(builder.gep(pointer, [at]), vector.as_pointer())


def load_lanes(builder: Any, pointer: Any, at: Any, lanes: int) -> Any:
    """Load ``lanes`` elements from element ``at``, wherever it lies."""
    return builder.load(_vector_at(builder, pointer, at, lanes), align=1)


def store_lanes(builder: Any, value: Any, pointer: Any, at: Any) -> None:
    """Store a vector at element ``at``, wherever it lies."""
    builder.store(value, _vector_at(builder, pointer, at, value.type.count), align=1)


def _first_lanes(builder: Any, few: Any, lanes: int) -> Any:
    """Which lanes are below ``few``."""
    numbers = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
    return builder.icmp_signed("<", numbers, splat(builder, few, lanes))


def load_some(builder: Any, pointer: Any, at: Any, lanes: int, few: Any) -> Any:
    """`load_lanes` that reads the first ``few`` elements only, if it is not None."""
    if few is None:
        return load_lanes(builder, pointer, at, lanes)
    vector, mask = zeros(pointer.type.pointee, lanes), _first_lanes(builder, few, lanes)
    place = _vector_at(builder, pointer, at, lanes)
    types = [place.type, _I32, mask.type, vector.type]
    name = f"llvm.masked.load.{_kind_name(vector.type)}.p0"
    load = declared(builder, ir.FunctionType(vector.type, types), name)
    return builder.call(load, [place, _I32(1), mask, vector])


def store_some(builder: Any, value: Any, pointer: Any, at: Any, few: Any) -> None:
    """`store_lanes` of the first ``few`` lanes only, if it is not None."""
    if few is None:
        store_lanes(builder, value, pointer, at)
    else:
        mask = _first_lanes(builder, few, value.type.count)
        store_masked(builder, value, pointer, at, mask)


def store_masked(builder: Any, value: Any, pointer: Any, at: Any, mask: Any) -> None:
    """`store_lanes` of the lanes that are set in a mask."""
    place = _vector_at(builder, pointer, at, value.type.count)
    types = [value.type, place.type, _I32, mask.type]
    name = f"llvm.masked.store.{_kind_name(value.type)}.p0"
    store = declared(builder, ir.FunctionType(ir.VoidType(), types), name)
    builder.call(store, [value, place, _I32(1), mask])


def gather_lanes(builder: Any, pointer: Any, at: Any, element: Any) -> Any:
    """Load one element of a type from each of the addresses, counted in those of the pointer."""
    lanes = at.type.count
    vector, itemsize = ir.VectorType(element, lanes), element_bytes(pointer.type.pointee)
    start = splat(builder, builder.ptrtoint(pointer, I64), lanes)
    places = builder.add(start, builder.mul(at, splat(builder, I64(itemsize), lanes)))
    places = builder.inttoptr(places, ir.VectorType(element.as_pointer(), lanes))
    mask = ir.Constant(ir.VectorType(ir.IntType(1), lanes), [1] * lanes)
    types = [places.type, _I32, mask.type, vector]
    name = f"llvm.masked.gather.{_kind_name(vector)}.v{lanes}p0"
    gather = declared(builder, ir.FunctionType(vector, types), name)
    return builder.call(gather, [places, _I32(1), mask, ir.Constant(vector, None)])


def _kind_name(vector: Any) -> str:
    element = vector.element
    bits = f"i{element.width}" if isinstance(element, ir.IntType) else "f32"
    return f"v{vector.count}{bits}"


def declared(builder: Any, kind: Any, name: str) -> Any:
    """An intrinsic of LLVM's of that type, declared once in a module."""
    known = builder.module.globals.get(name)
    return ir.Function(builder.module, kind, name) if known is None else known


def zeros(element: Any, lanes: int) -> Any:
    """A vector of zeros."""
    return ir.Constant(ir.VectorType(element, lanes), None)


def splat(builder: Any, value: Any, lanes: int) -> Any:
    """A vector that repeats one scalar."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(undefined, value, I64(0))
    return builder.shuffle_vector(one, undefined, zeros(ir.IntType(32), lanes))


def is_whole(vector: Any) -> bool:
    """Whether a vector holds integers."""
    return isinstance(vector.type.element, ir.IntType)


def add(builder: Any, a: Any, b: Any) -> Any:
    """The sum of two vectors of one type."""
    return builder.add(a, b) if is_whole(a) else builder.fadd(a, b)


def multiply(builder: Any, a: Any, b: Any) -> Any:
    """The product of two vectors of one type."""
    return builder.mul(a, b) if is_whole(a) else builder.fmul(a, b)


def subtract(builder: Any, a: Any, b: Any) -> Any:
    """The difference of two vectors of one type."""
    return builder.sub(a, b) if is_whole(a) else builder.fsub(a, b)


def chosen(builder: Any, condition: Any, value: Any, other: Callable[[], Any]) -> Any:
    """Emit ``other()`` where the condition holds, else the value; a branch, not a selection."""
    before = builder.block
    with builder.if_then(condition):
        changed = other()
        inside = builder.block
    result = builder.phi(value.type)
    result.add_incoming(value, before)
    result.add_incoming(changed, inside)
    return result


def loop(
    builder: Any, begin: Any, end: Any, step: int, held: list[Any], body: Body
) -> tuple[Any, list[Any]]:
    """Emit ``while begin + step <= end: held = body(begin, held); begin += step``."""
    entry = builder.block
    head, inside, done = (builder.append_basic_block(part) for part in ("head", "in", "out"))
    builder.branch(head)
    builder.position_at_end(head)
    at = builder.phi(I64)
    at.add_incoming(begin, entry)
    phis = [builder.phi(value.type) for value in held]
    following = builder.add(at, I64(step))
    builder.cbranch(builder.icmp_signed("<=", following, end), inside, done)
    builder.position_at_end(inside)
    updated = body(at, phis)
    at.add_incoming(following, builder.block)
    for phi, before, after in zip(phis, held, updated, strict=True):
        phi.add_incoming(before, entry)
        phi.add_incoming(after, builder.block)
    builder.branch(head)
    builder.position_at_end(done)
    return at, phis


def switch(builder: Any, choice: Any, cases: Sequence[Callable[[], list[Any] | None]]) -> list[Any]:
    """Emit the ``choice``-th of several pieces of code, chosen at run time; what it returned."""
    before, done = builder.block, builder.append_basic_block("done")
    branches = builder.switch(choice, done)
    results = []
    for number, emit in enumerate(cases):
        case = builder.append_basic_block(f"case{number}")
        branches.add_case(I64(number), case)
        builder.position_at_end(case)
        values = emit() or []
        results.append((values, builder.block))
        builder.branch(done)
    builder.position_at_end(done)
    phis = [builder.phi(value.type) for value in results[0][0]]
    for values, block in [([phi.type(ir.Undefined) for phi in phis], before), *results]:
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, block)
    return phis
