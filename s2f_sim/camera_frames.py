"""Events gathered into frames, as networks for event cameras take them."""

import numpy as np
from numpy.typing import NDArray

from s2f_deploy.errors import InputError
from s2f_sim.camera_events import Events
from s2f_sim.letterbox import Letterbox

# Source: ``spike_yolo.md`` section 6.
GEN1_WINDOW_US = 250_000
GEN1_SIDE = 320
_NOTHING, _BRIGHTER = 127, 255
_POLARITIES, _COLOURS = 2, 3
_MOST_CELLS = 1 << 28
# Times are multiplied by the number of bins.
_LONGEST_PRODUCT = 1 << 62


def gen1_frames(
    events: Events, label_us: int, bins: int, window_us: int = GEN1_WINDOW_US
) -> NDArray[np.uint8]:
    """The 250 ms (``window_us``) before a label, uint8[bins, H, W], oldest first.

    A pixel is 127 where nothing happened, else 255 or 0 by its last event. Of a label in the first
    250 ms the bins start at time 0 and the last ones stay empty.

    Raises:
        InputError: ``bins`` is no number of bins that the window can have.

    Source: ``spike_yolo.md`` section 6.
    """
    start = max(0, label_us - window_us)
    _check(events, bins, window_us)
    width_us = window_us // bins
    # What is left over by the division belongs to no bin.
    seen = events.window(start, min(label_us, start + bins * width_us))
    frames = np.full((bins, events.height, events.width), _NOTHING, np.uint8)
    # Of repeated indices the last assignment stays.
    frames[(seen.t - start) // width_us, seen.y, seen.x] = seen.p * np.uint8(_BRIGHTER)
    return frames


def gen1_input(frames: NDArray[np.uint8], side: int = GEN1_SIDE) -> NDArray[np.float32]:
    """Frames uint8[T, H, W], oldest first -> float32[1, T, 3, side, side] in [0, 1], newest first.

    The published weights were trained on frames in reversed time.

    Source: ``spike_yolo.md`` section 6, the training loader.
    """
    placed = gen1_letterbox(frames, side).place(frames.transpose(1, 2, 0))
    newest_first = placed.transpose(2, 0, 1)[::-1].astype(np.float32) / np.float32(255)
    return np.repeat(newest_first[None, :, None], _COLOURS, axis=2)


def gen1_letterbox(frames: NDArray[np.uint8], side: int = GEN1_SIDE) -> Letterbox:
    """How frames[T, H, W] lie in the input; maps boxes back to the sensor's pixels."""
    return Letterbox.for_validation((frames.shape[1], frames.shape[2]), side=side)


def count_frames(
    events: Events, bins: int, start: int | None = None, end: int | None = None
) -> NDArray[np.int32]:
    """How often each pixel got darker and brighter, int32[bins, 2, H, W], oldest first.

    Args:
        events: what is counted.
        bins: equal parts of the window; each event is in exactly one.
        start: of the window, microseconds; None: the first event.
        end: first microsecond after the window; None: after the last event.

    Raises:
        InputError: the window is empty, or shorter than ``bins`` microseconds.
    """
    if not len(events) and None in (start, end):
        raise _impossible("there are no events whose time could be divided")
    start = int(events.t[0]) if start is None else start
    end = int(events.t[-1]) + 1 if end is None else end
    _check(events, bins, end - start)
    seen = events.window(start, end)
    part = (seen.t - start) * bins // (end - start)
    shape = bins, _POLARITIES, events.height, events.width
    cell = np.ravel_multi_index((part, seen.p, seen.y, seen.x), shape)
    counts = np.bincount(cell, minlength=int(np.prod(shape)))
    return counts.astype(np.int32).reshape(shape)


def binary_frames(
    events: Events, bins: int, start: int | None = None, end: int | None = None
) -> NDArray[np.uint8]:
    """``count_frames`` with 1 wherever something happened, uint8[bins, 2, H, W]."""
    return np.minimum(count_frames(events, bins, start, end), 1).astype(np.uint8)


def _check(events: Events, bins: int, length_us: int) -> None:
    if not 1 <= bins <= length_us or bins * length_us > _LONGEST_PRODUCT:
        raise _impossible(f"a window of {length_us:,} us cannot be cut into {bins:,} bins")
    if bins * _POLARITIES * events.height * events.width > _MOST_CELLS:
        raise _impossible(f"{bins:,} frames of {events.width}x{events.height} pixels")


def _impossible(what: str) -> InputError:
    return InputError(what, where="event frames", fix="give another window, or fewer bins")
