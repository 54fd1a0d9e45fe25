"""Each 3×3 convolution of the full network by XLA, by Winograd's filtering and by PyTorch.

    python -m benchmarks.convolutions    # a minute on two cores → benchmarks/results/convolutions.json, and the page

What docs/cpu_speed.md says and the rules in `pmd_jax.models` rest on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from jax import lax

from benchmarks import RESULTS, ROOT
from benchmarks.measure import publish
from pmd_jax.models import winograd as conv
from pmd_jax.runtime.cli import prepare_xla
from pmd_jax.runtime.markdown import markdown_table
from pmd_jax.runtime.timing import by_turns

SHAPES = ((64, 64), (32, 128), (16, 256), (8, 512))  # pixels a side, channels
BATCH, SECONDS = 16, 0.5
XLA = functools.partial(
    lax.conv_general_dilated, window_strides=(1, 1), padding=conv.SAME, dimension_numbers=conv.DIMENSIONS
)
PAGE, MARKS = ROOT / "docs" / "cpu_speed.md", ("<!-- convolutions:begin -->", "<!-- convolutions:end -->")


def training(side: int, channels: int) -> dict[str, dict[str, float]]:
    """Median seconds of the value and of the kernel's gradient (the input's is a value's work), a batch at a time."""
    x, kernel, gradient = _operands(BATCH, side, channels)

    def xla_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
        return jax.vjp(lambda kernel: XLA(x, kernel), kernel)[1](gradient)[0]

    theirs, weights = _torch(x), _torch(kernel, (3, 2, 0, 1))
    backward = functools.partial(torch.ops.aten.convolution_backward, _torch(gradient), theirs, weights, None)
    value = {
        "xla": _jitted(XLA, x, kernel),
        "rows": _jitted(lambda x, kernel: conv.along_rows(x, conv.transformed(kernel)), x, kernel),
        "pytorch": functools.partial(torch.conv2d, theirs, weights, padding=1),
    }
    kernel_gradient = {
        "xla": _jitted(xla_gradient, x, gradient),
        "tiles": _jitted(conv.kernel_gradient, x, gradient),
        "pytorch": lambda: backward([1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False]),
    }
    return {"value": by_turns(value, seconds=SECONDS), "kernel_gradient": by_turns(kernel_gradient, seconds=SECONDS)}


def one_crop(side: int, channels: int) -> dict[str, float]:
    """Median seconds of the value for one crop."""
    x, kernel, _ = _operands(1, side, channels)
    layer = nnx.Conv(channels, channels, (3, 3), padding=conv.SAME, rngs=nnx.Rngs(0))
    programs: dict[str, Callable[[], Any]] = {"xla": _layer(layer, x)}
    weights = _torch(kernel, (3, 2, 0, 1))
    programs["pytorch"] = functools.partial(torch.conv2d, _torch(x), weights, padding=1)
    return by_turns(programs, seconds=SECONDS, calls=11)


def _operands(batch: int, side: int, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = functools.partial(np.random.default_rng(0).standard_normal, dtype=np.float32)
    pictures = (batch, side, side, channels)
    return draw(pictures), draw((3, 3, channels, channels)), draw(pictures)


def _torch(array: np.ndarray, order: tuple[int, ...] = (0, 3, 1, 2)) -> torch.Tensor:
    return torch.from_numpy(array.copy()).permute(order).contiguous(memory_format=torch.channels_last)


def _jitted(function: Callable[..., jax.Array], *operands: np.ndarray) -> Callable[[], Any]:
    run, on_device = jax.jit(function), jax.device_put(operands)
    return lambda: run(*on_device).block_until_ready()


def _layer(module: Callable[[jax.Array], jax.Array], x: np.ndarray) -> Callable[[], Any]:
    graph, params = nnx.split(module)
    run, x_on_device = jax.jit(lambda params, x: nnx.merge(graph, params)(x)), jnp.asarray(x)
    return lambda: run(params, x_on_device).block_until_ready()


def render(measured: dict[str, Any]) -> str:
    """The page's table."""
    rows = []
    for shape in measured["shapes"]:
        for part, title in (
            ("value", "value"),
            ("kernel_gradient", "kernel's gradient"),
            ("one_crop", "value, one crop"),
        ):
            ms = {name: f"{1000 * spent:.2f}" for name, spent in shape[part].items()}
            winograd = ms.get("rows") or ms.get("tiles", "–")
            layer = f"{shape['channels']} channels, {shape['side']} pixels"
            rows.append((layer, title, ms["xla"], winograd, ms["pytorch"]))
    where = f"Measured {measured['date']}, {measured['hardware']['cpu']}, {measured['hardware']['cores']} cores; ms."
    header = ("layer", f"batch {measured['batch']} or one crop", "XLA", "Winograd", "PyTorch")
    return f"{where}\n\n{markdown_table(header, rows)}"


def main() -> None:
    prepare_xla()
    torch.set_grad_enabled(False)
    shapes = [
        {"side": side, "channels": channels, **training(side, channels), "one_crop": one_crop(side, channels)}
        for side, channels in SHAPES
    ]
    publish(RESULTS / "convolutions.json", PAGE, MARKS, render, batch=BATCH, unit="s", shapes=shapes)


if __name__ == "__main__":
    main()
