"""A neuron in plain float operators: clip and round, or, where that would miss a count, compare."""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from s2f_deploy.backend.onnx_writer import Array, OnnxWriter, per_channel
from s2f_deploy.ir.graph import DType, Node
from s2f_deploy.ir.interval import Interval
from s2f_deploy.ops.neuron import round_counts
from s2f_deploy.passes.comparators import comparators


@dataclass(frozen=True, eq=False, slots=True)
class FloatNeuron:
    """One neuron of a graph of dyadic rationals.

    Attributes:
        node: an integer_fire.
        scale: float64[C] or [1], positive, of the membrane.
        shift: float64[C] or [1], of the scaled membrane.
        exponents: int32[C], the grid of the membrane.
        bounds: of the membrane, in units of its grid.
    """

    node: Node
    scale: Array
    shift: Array
    exponents: Array
    bounds: Interval

    def emit(self, out: OnnxWriter) -> None:
        """Append the neuron; its counts are a float32 tensor of its name."""
        if self.rounds_rightly():
            self._round(out)
        else:
            self._compare(out)

    def rounds_rightly(self) -> bool:
        """Whether double precision gives every membrane the count that exact arithmetic does.

        Scaling, shifting and rounding are monotone, so it does everywhere if it does at every
        comparator and one unit below.
        """
        levels, rounding = self.node["levels"], self.node["rounding"]
        low, high = (end.astype(np.int64) for end in (self.bounds.low, self.bounds.high))
        table = np.broadcast_to(self._comparators(), (levels, len(low)))
        for offset in (0, -1):
            units = np.clip(table, low, high + 1) + offset
            counts = (units[:, None] >= table[None]).sum(1)
            real = np.ldexp(units.astype(np.float64), self.exponents) * self.scale + self.shift
            if not np.array_equal(counts, round_counts(real, levels, rounding)):
                return False
        return True

    def _comparators(self) -> Array:
        """int64[D, C], in units of the grid."""
        scale = np.ldexp(self.scale, self.exponents)
        return comparators(self.node, DType.INT64, scale, self.shift)

    def _round(self, out: OnnxWriter) -> None:
        name, up = self.node.name, self.node["rounding"] == "half_up"
        membrane = self._scaled(out, half_up=up)
        wide = membrane in out.wide
        low = out.number(f"{name}.low", 0, wide=wide)
        high = out.number(f"{name}.high", self.node["levels"], wide=wide)
        counts = out.op("Clip", [membrane, low, high], f"{name}.clipped", wide=wide)
        if up:
            half = out.number(f"{name}.half", 0.5, wide=wide)
            counts = out.op("Add", [counts, half], f"{name}.raised", wide=wide)
        counts = out.op("Floor" if up else "Round", [counts], f"{name}.counts", wide=wide)
        if wide:
            out.op("Cast", [counts], name, to=TensorProto.FLOAT)
        else:
            out.op("Identity", [counts], name)

    def _scaled(self, out: OnnxWriter, *, half_up: bool) -> str:
        """The membrane as it is rounded, in double where float32 would round it before."""
        name, source = self.node.name, self.node.inputs[0]
        power_of_two = bool((np.frexp(self.scale)[0] == 0.5).all())  # noqa: PLR2004
        # Adding a half, or scaling by what is no power of two, takes more bits than float32 has.
        wide = source in out.wide or half_up or not power_of_two or bool(self.shift.any())
        membrane = out.cast(source, wide=wide)
        for part, op, values, neutral in (
            ("scale", "Mul", self.scale, 1),
            ("shift", "Add", self.shift, 0),
        ):
            if (values != neutral).any():
                array = per_channel(values, self.node.output)
                kind = np.float64 if wide else np.float32
                constant = out.constant(f"{name}.{part}", array, kind)
                membrane = out.op(op, [membrane, constant], f"{name}.{part}d", wide=wide)
        return out.op("Identity", [membrane], f"{name}.membrane", wide=wide)

    def _compare(self, out: OnnxWriter) -> None:
        """Counts as the number of comparators reached."""
        name = self.node.name
        ends = self.bounds.low.min(), self.bounds.high.max() + 1
        reachable = np.clip(self._comparators(), *ends).astype(np.float64)
        source = out.cast(self.node.inputs[0], wide=True)
        membrane = out.op("Identity", [source], f"{name}.membrane", wide=True)
        fired = []
        for d, row in enumerate(np.ldexp(reachable, self.exponents), 1):
            array = per_channel(row, self.node.output)
            comparator = out.constant(f"{name}.comparator{d}", array, np.float64)
            reached = out.op("GreaterOrEqual", [membrane, comparator], f"{name}.reached{d}")
            fired.append(out.op("Cast", [reached], f"{name}.spike{d}", to=TensorProto.FLOAT))
        out.op("Sum", fired, name)
