"""What every recipe with averaged weights does alike: its steps, its schedule, its checkpoint."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of a recipe.

    Attributes:
        out: the checkpoint.
        epochs: of the whole run.
        steps_per_epoch: batches.
        rate: largest learning rate.
        warm_up: share of the run in which the rate rises.
        least: what its factor falls to, in half a cosine.
        largest_norm: of a gradient, which is cut at it.
        average_decay: share of the averaged weights that a step keeps.
        average_warm_up: steps after which nearly so; fewer are remembered in the beginning.
    """

    out: Path
    epochs: int
    steps_per_epoch: int
    rate: float
    warm_up: float
    least: float
    largest_norm: float
    average_decay: float
    average_warm_up: float

    def factor(self, step: int) -> float:
        """Of the learning rate: a ramp, then half a cosine."""
        done: float = step / max(self.epochs * self.steps_per_epoch, 1)
        if done < self.warm_up:
            return done / self.warm_up
        falling = (done - self.warm_up) / (1 - self.warm_up)
        return self.least + (1 - self.least) * (1 + math.cos(math.pi * falling)) / 2


def round_to_half(model: nn.Module) -> None:
    """Round every floating point parameter and statistic to the nearest float16 value."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())


class AveragedTraining(Generic[Model]):
    """Model, averaged model, optimiser and schedule of one run.

    Args:
        plan: of the recipe.
        model: to train.
        average: another of its kind, whose weights become the model's.
    """

    def __init__(self, plan: Plan, model: Model, average: Model) -> None:
        self.plan, self.model, self.average = plan, model, average
        average.load_state_dict(model.state_dict())
        self.steps = 0

    def optimise(self, decayed: Iterable[Tensor], others: Iterable[Tensor], decay: float) -> None:
        """Choose the optimiser: AdamW with weight decay for some parameters alone."""
        groups = [
            {"params": list(decayed), "weight_decay": decay},
            {"params": list(others), "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=self.plan.rate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.plan.factor)

    def descend(self, loss: Tensor) -> None:
        """One step down the gradient of a batch's loss."""
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.largest_norm)
        self.optimizer.step()
        self.schedule.step()
        self._add_to_average()

    def _add_to_average(self) -> None:
        self.steps += 1
        decay = self.plan.average_decay * (1 - math.exp(-self.steps / self.plan.average_warm_up))
        with torch.no_grad():
            current = self.model.state_dict()
            for name, tensor in self.average.state_dict().items():
                if tensor.is_floating_point():
                    tensor.lerp_(current[name], 1 - decay)
                else:
                    tensor.copy_(current[name])

    def write(self, epoch: int, described: dict[str, Any]) -> None:
        """Replace the checkpoint in one step; the last one is for deployment only.

        Args:
            epoch: that has just been done.
            described: what the checkpoint says of the network beside its weights.
        """
        state = {"model": self.average.state_dict(), "epoch": epoch, **described}
        if epoch < self.plan.epochs - 1:
            state |= {
                "latent": self.model.state_dict(),
                "steps": self.steps,
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
            }
        partial = self.plan.out.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.plan.out)

    def resume(self) -> int:
        """Go on from the saved state; returns the first epoch that is still to do."""
        saved: dict[str, Any] = torch.load(self.plan.out)
        self.average.load_state_dict(saved["model"])
        if "latent" not in saved:
            return self.plan.epochs
        self.restore(saved)
        return int(saved["epoch"]) + 1

    def restore(self, saved: dict[str, Any]) -> None:
        """What a run that is not over needs beside the averaged weights."""
        self.model.load_state_dict(saved["latent"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.steps = int(saved["steps"])
