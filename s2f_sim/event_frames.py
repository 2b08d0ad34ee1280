"""Preparing a recording of an event camera: frames, one per real timestep."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s2f_deploy.errors import InputError
from s2f_sim.camera_events import Events
from s2f_sim.camera_files import SUFFIXES, read_events
from s2f_sim.camera_frames import count_frames, gen1_frames, gen1_input, gen1_letterbox
from s2f_sim.entries import choice, invalid, table, whole
from s2f_sim.sample import Recording, Sample

POLARITY, COUNTS = "polarity", "counts"
MOST_STEPS, MOST_LEVELS = 64, 255
_LONGEST_WINDOW_US = 1 << 40


@dataclass(frozen=True, slots=True)
class EventFrames:
    """Cut a window of time into equal parts, and gather the events of each.

    Attributes:
        frames: ``counts``: how often each pixel got darker and brighter, two channels, oldest
            first, cut at ``largest``; ``polarity``: the last event of each pixel as published
            Gen1 networks take it, three equal channels, newest first, fitted into ``sensor``.
        steps: real timesteps, ``T``.
        window_us: length of the window, microseconds; None: the whole recording.
        sensor: width and height of the network's input.
        largest: count; 1 for binary frames.
    """

    frames: str
    steps: int
    window_us: int | None
    sensor: tuple[int, int]
    largest: int = 1

    kind: ClassVar[str] = "event_frames"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    @classmethod
    def from_dict(cls, entries: object, *, where: str) -> "EventFrames":
        """Read what ``to_dict`` wrote, or what a checkpoint says.

        Raises:
            InputError: an entry is missing, unknown, or makes no sense; ``where`` is cited.
        """
        read = table(entries, list(cls.__slots__), where)
        frames = choice(read, "frames", (POLARITY, COUNTS), where)
        steps = whole(read, "steps", where, most=MOST_STEPS)
        window = read["window_us"]
        if window is not None:
            window = whole(read, "window_us", where, most=_LONGEST_WINDOW_US)
        sensor = read["sensor"]
        if not isinstance(sensor, list | tuple) or len(sensor) != 2:  # noqa: PLR2004 (a plane)
            raise invalid("the sensor is no width and height", where)
        width, height = (whole({"sensor": side}, "sensor", where) for side in sensor)
        if frames == POLARITY and (width != height or window is None):
            raise invalid("polarity frames are those of a window, fitted into a square", where)
        largest = whole(read, "largest", where, most=MOST_LEVELS)
        return cls(frames, steps, window, (width, height), largest)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, text and lists, as artefacts keep them."""
        return asdict(self) | {"sensor": list(self.sensor)}

    def read(self, path: Path, at_us: int | None = None) -> Sample:
        """A recording, ready for the network.

        Args:
            path: of the recording.
            at_us: end of the window, microseconds; None: the end of the recording.

        Raises:
            InputError: the file cannot be read, the sensor is another one, nothing happened in
                the window, or a time is given where the whole recording is seen.
        """
        events = read_events(path)
        sample = self.sample(path, events, at_us)
        assert isinstance(sample.source, Recording)
        if not len(sample.source.events):
            first, last = events.t[0] / 1e6, events.t[-1] / 1e6
            raise InputError(
                f"there are no events from {sample.source.start / 1e6:.3f} s to "
                f"{sample.source.end / 1e6:.3f} s",
                where=str(path),
                fix=f"choose a time from {first:.3f} s to {last:.3f} s with --at",
            )
        return sample

    def sample(self, path: Path, events: Events, at_us: int | None = None) -> Sample:
        """As ``read``, of a recording that was read already; of a silent window, blank frames."""
        start, end = self._window(path, events, at_us)
        shown = Recording(events.window(start, end), start, end, self.steps)
        letterbox = None
        if self.frames == POLARITY:
            assert self.window_us is not None
            frames = gen1_frames(events, end, self.steps, self.window_us)
            x = gen1_input(frames, self.sensor[0])
            letterbox = gen1_letterbox(frames, self.sensor[0])
        else:
            self._check_sensor(path, events)
            counts = count_frames(events, self.steps, start, end)
            x = np.minimum(counts, self.largest).astype(np.float32)[None]
        seen = (0.0, 0.0, float(events.width), float(events.height))
        # A network of one step has no axis for time.
        return Sample(path, x if self.steps > 1 else x[:, 0], shown, seen, letterbox)

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """Refuse a photograph.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"an image of {image.width}x{image.height} pixels shows no events",
            where="preprocessing",
            fix=f"give a recording: {', '.join(self.suffixes)}",
        )

    def _window(self, path: Path, events: Events, at_us: int | None) -> tuple[int, int]:
        last = int(events.t[-1]) + 1
        if self.window_us is None:
            if at_us is not None:
                raise InputError(
                    "this network sees whole recordings", where=str(path), fix="leave --at out"
                )
            return int(events.t[0]), last
        end = last if at_us is None else at_us
        return max(0, end - self.window_us), end

    def _check_sensor(self, path: Path, events: Events) -> None:
        if (events.width, events.height) != self.sensor:
            raise InputError(
                f"the sensor has {events.width}x{events.height} pixels, the network takes "
                f"{self.sensor[0]}x{self.sensor[1]}",
                where=str(path),
                fix="give a recording of the camera that the network was trained for",
            )
