"""The neuron in ONNX: functions of the domain ``s2f`` whose bodies are standard operators.

Any ONNX runtime executes them as they are; the importer knows a neuron when it sees one. The
rounding rule is part of the operator's name, because a function body cannot branch on text.
"""

import re

import onnx
from onnx import helper

DOMAIN = "s2f"
OPSET = 18
OPERATORS = {"half_even": "IntegerFire", "half_up": "IntegerFireHalfUp"}


def operator(rounding: str, timesteps: int = 1) -> str:
    """Name of the operator: several timesteps are part of it, too.

    >>> operator("half_even"), operator("half_up", 4)
    ('IntegerFire', 'IntegerFireHalfUpT4')
    """
    return OPERATORS[rounding] + (f"T{timesteps}" if timesteps > 1 else "")


def rule_of(name: str) -> tuple[str, int]:
    """Rounding rule and timesteps of an operator.

    >>> rule_of("IntegerFireT4")
    ('half_even', 4)
    """
    found = re.fullmatch(r"(\w+?)(?:T(\d+))?", name)
    assert found
    rounding = next((rule for rule, known in OPERATORS.items() if known == found[1]), "")
    return rounding, int(found[2] or 1)


def neuron_function(rounding: str, timesteps: int = 1) -> onnx.FunctionProto:
    """``clip(round(u), 0, D) / norm`` with the attributes ``D``, ``norm`` and ``rounding``.

    With several timesteps, on the first axis, u is what input, leak ``beta`` and reset have made.
    """
    if timesteps > 1:
        return _leaking(rounding, timesteps)
    zero = helper.make_node("Constant", [], ["zero"], value_float=0.0)
    levels = helper.make_node("Constant", [], ["D_int"])
    levels.attribute.append(_reference("value_int", "D", onnx.AttributeProto.INT))
    norm = helper.make_node("Constant", [], ["norm_float"])
    norm.attribute.append(_reference("value_float", "norm", onnx.AttributeProto.FLOAT))
    body = [
        zero,
        levels,
        norm,
        helper.make_node("CastLike", ["zero", "membrane"], ["low"]),
        helper.make_node("CastLike", ["D_int", "membrane"], ["high"]),
        helper.make_node("CastLike", ["norm_float", "membrane"], ["divisor"]),
        helper.make_node("Clip", ["membrane", "low", "high"], ["clipped"]),
        *_round(rounding),
        helper.make_node("Div", ["counts", "divisor"], ["output"]),
    ]
    return helper.make_function(
        DOMAIN,
        OPERATORS[rounding],
        ["membrane"],
        ["output"],
        body,
        [helper.make_opsetid("", OPSET)],
        ["D", "norm", "rounding"],
    )


def _leaking(rounding: str, timesteps: int) -> onnx.FunctionProto:
    """The recurrence written out: u[t] = (u[t-1] − n[t-1]) · beta + x[t]."""
    body = [
        _constant("zero", 0.0),
        helper.make_node("CastLike", ["zero", "membrane"], ["low"]),
        *_attribute("D", "value_int", onnx.AttributeProto.INT, "high"),
        *_attribute("norm", "value_float", onnx.AttributeProto.FLOAT, "divisor"),
        *_attribute("beta", "value_float", onnx.AttributeProto.FLOAT, "leak"),
    ]
    steps = [f"x{t}" for t in range(timesteps)]
    body.append(helper.make_node("Split", ["membrane"], steps, axis=0, num_outputs=timesteps))
    carried = ""
    for t, current in enumerate(steps):
        membrane = current
        if carried:
            membrane = f"u{t}"
            body.append(helper.make_node("Add", [carried, current], [membrane]))
        body.append(helper.make_node("Clip", [membrane, "low", "high"], [f"clipped{t}"]))
        body += _round(rounding, str(t))
        if t == timesteps - 1:
            break
        carried = f"carried{t}"
        body.append(helper.make_node("Sub", [membrane, f"counts{t}"], [f"left{t}"]))
        body.append(helper.make_node("Mul", [f"left{t}", "leak"], [carried]))
    fired = [f"counts{t}" for t in range(timesteps)]
    body.append(helper.make_node("Concat", fired, ["counts"], axis=0))
    body.append(helper.make_node("Div", ["counts", "divisor"], ["output"]))
    return helper.make_function(
        DOMAIN,
        operator(rounding, timesteps),
        ["membrane"],
        ["output"],
        body,
        [helper.make_opsetid("", OPSET)],
        ["D", "norm", "rounding", "T", "beta"],
    )


def _constant(name: str, value: float) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value_float=value)


def _attribute(
    name: str, key: str, kind: onnx.AttributeProto.AttributeType, result: str
) -> list[onnx.NodeProto]:
    """Attribute ``name`` of the call as a number of the membrane's type."""
    number = helper.make_node("Constant", [], [f"{name}_number"])
    number.attribute.append(_reference(key, name, kind))
    return [number, helper.make_node("CastLike", [f"{name}_number", "membrane"], [result])]


def _round(rounding: str, suffix: str = "") -> list[onnx.NodeProto]:
    clipped, counts, raised, half = (
        f"{stem}{suffix}" for stem in ("clipped", "counts", "raised", "half")
    )
    if rounding == "half_even":
        return [helper.make_node("Round", [clipped], [counts])]
    return [
        _constant(f"{half}_float", 0.5),
        helper.make_node("CastLike", [f"{half}_float", "membrane"], [half]),
        helper.make_node("Add", [clipped, half], [raised]),
        helper.make_node("Floor", [raised], [counts]),
    ]


def _reference(name: str, to: str, kind: onnx.AttributeProto.AttributeType) -> onnx.AttributeProto:
    """Attribute ``name`` of a body node, taken from attribute ``to`` of the function's call."""
    return onnx.AttributeProto(name=name, ref_attr_name=to, type=kind)
