"""The neuron in ONNX: functions of the domain ``s2f`` whose bodies are standard operators.

Any ONNX runtime executes them as they are; the importer knows a neuron when it sees one. The
rounding rule is part of the operator's name, because a function body cannot branch on text.
"""

import onnx
from onnx import helper

DOMAIN = "s2f"
OPSET = 18
OPERATORS = {"half_even": "IntegerFire", "half_up": "IntegerFireHalfUp"}


def neuron_function(rounding: str) -> onnx.FunctionProto:
    """``clip(round(u), 0, D) / norm`` with the attributes ``D``, ``norm`` and ``rounding``."""
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


def _round(rounding: str) -> list[onnx.NodeProto]:
    if rounding == "half_even":
        return [helper.make_node("Round", ["clipped"], ["counts"])]
    return [
        helper.make_node("Constant", [], ["half_float"], value_float=0.5),
        helper.make_node("CastLike", ["half_float", "membrane"], ["half"]),
        helper.make_node("Add", ["clipped", "half"], ["raised"]),
        helper.make_node("Floor", ["raised"], ["counts"]),
    ]


def _reference(name: str, to: str, kind: onnx.AttributeProto.AttributeType) -> onnx.AttributeProto:
    """Attribute ``name`` of a body node, taken from attribute ``to`` of the function's call."""
    return onnx.AttributeProto(name=name, ref_attr_name=to, type=kind)
