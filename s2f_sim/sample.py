"""One thing to run a network on, as it lies in a file and as the network takes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from s2f_sim.camera_events import Events
from s2f_sim.fit import Fit
from s2f_sim.letterbox import Letterbox

Area = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Recording:
    """The part of an event camera's recording that a network sees.

    Attributes:
        events: those of the window.
        start: of the window, microseconds.
        end: first microsecond after it.
        steps: real timesteps it is cut into.
    """

    events: Events
    start: int
    end: int
    steps: int


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """A file that was read and prepared.

    Attributes:
        path: where it lies.
        x: float32[1, ...], as the network takes it.
        source: the picture in RGB, or the events.
        seen: left, top, right, bottom of what the network sees, in pixels of the source.
        letterbox: where the source lies in the input, for networks that find boxes in it.
        fit: the same for networks that tell the class of every pixel.
    """

    path: Path
    x: NDArray[Any]
    source: Image.Image | Recording
    seen: Area
    letterbox: Letterbox | None = None
    fit: Fit | None = None
