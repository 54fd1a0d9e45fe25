"""From radiance to a picture: film curve, optics, sensor noise."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Int16, UInt8

from .draws import Draws
from .view import MAX_PIXELS

_NOISE_SIZE = (1 << 20) + 3 * MAX_PIXELS
_FILM_STEPS, _FILM_END = 4096, 4.0


class Sensor(NamedTuple):
    """Optics and noise of a batch of pictures."""

    blurred: Bool[np.ndarray, " b"]
    sigma: Float[np.ndarray, " b"]  # noise, 8-bit steps
    start: Int[np.ndarray, " b"]  # where the noise bank is read


def sample_sensor(draws: Draws) -> Sensor:
    """Most pictures get a tent blur (it also hides hard edges), all of them noise."""
    return Sensor(draws.chance(0.6), draws.uniform(low=0.5, high=6), draws.integer(0, _NOISE_SIZE - 3 * MAX_PIXELS))


def expose(radiance: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
    """Linear radiance (1 is white paper in mean light) to sRGB with a soft shoulder."""
    step = np.clip(radiance * np.float32(_FILM_STEPS / _FILM_END), 0, _FILM_STEPS - 1).astype(np.int32)
    return np.take(_film(), step)


@cache
def _film() -> UInt8[np.ndarray, " 4096"]:
    radiance = np.arange(_FILM_STEPS) * (_FILM_END / _FILM_STEPS)
    shown = np.clip(1.35 * radiance / (1 + 0.55 * radiance), 0, 1)
    return (255 * np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)).astype(np.uint8)


def capture(sensor: Sensor, rgb: UInt8[np.ndarray, "b h w 3"]) -> UInt8[np.ndarray, "b h w 3"]:
    """Blur and noise."""
    out = np.empty_like(rgb)
    for sample, picture in enumerate(rgb):
        sharp = _tent(picture) if sensor.blurred[sample] else picture
        start = sensor.start[sample]
        grain = _noise()[start : start + picture.size] * np.int16(16 * sensor.sigma[sample])
        grain >>= 8
        grain = grain.reshape(picture.shape)
        grain += sharp
        np.clip(grain, 0, 255, out=grain)
        out[sample] = grain
    return out


@cache
def _noise() -> Int16[np.ndarray, " n"]:
    """Normal numbers with deviation 16."""
    return np.rint(16 * np.random.RandomState(11).standard_normal(_NOISE_SIZE)).astype(np.int16)


def _tent(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """[1 2 1]/4 along both axes; the sums of 16 bytes and the rounding fit in 16 bits."""
    wide = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge").astype(np.uint16)
    rows = wide[:-2] + wide[2:]
    rows += wide[1:-1]
    rows += wide[1:-1]
    total = rows[:, :-2] + rows[:, 2:]
    total += rows[:, 1:-1]
    total += rows[:, 1:-1]
    total += 8
    total >>= 4
    return total.astype(np.uint8)
