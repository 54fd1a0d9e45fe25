"""Crops in memory to joints in memory: ours, PyTorch and ONNX Runtime; and what the parts of the network cost.

"ours" is the network as `pmd_jax.load` gives it, "jax" the same run by JAX.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnxruntime

from benchmarks import jax_step, torch_step
from pmd_jax.config.methods import METHODS
from pmd_jax.models import saved_model
from pmd_jax.models.network import build
from pmd_jax.models.saved_model import SavedModel
from pmd_jax.predict.latency import ms_per_image
from pmd_jax.predict.predictor import load, of_saved_model
from pmd_jax.runtime.timing import by_turns

ROW = "pmd_net"
PAPER_MS = {"pmd_net_joint": 5.90, "pmd_net": 6.01, "pmd_net_refine": 6.09}  # Table 3, an image


def measure(size: jax_step.Size, seconds: float, batches: tuple[int, ...] = (1, 64)) -> dict[str, Any]:
    """Medians in seconds a call at each batch, and the others' times over ours."""
    network, weights = build(size.config, METHODS[ROW], size.config.seed)
    weights, found = jax.device_get(weights), {}
    by_jax = of_saved_model(SavedModel(ROW, size.config, network, weights))
    graph = saved_model.graph_of(ROW, size.config, weights)
    assert graph is not None
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    with tempfile.TemporaryDirectory() as folder:
        saved_model.save(Path(folder, "export"), ROW, size.config, weights)
        predictor = load(Path(folder, "export"))
    for batch in batches:
        crops = np.random.default_rng(0).integers(0, 256, (batch, 64, 64, 3), np.uint8)
        programs: dict[str, Callable[[], Any]] = {
            "ours": lambda crops=crops: predictor(crops),
            "jax": lambda crops=crops: by_jax(crops),
            "pytorch": torch_step.inference(size.config, ROW, crops),
            "onnxruntime": lambda crops=crops: session.run(["joints"], {"rgb": crops}),
        }
        call_s = by_turns(programs, seconds=seconds, calls=11 if batch == 1 else 2)
        found[f"batch_{batch}"] = {
            "call_s": call_s,
            "images_per_s": {name: batch / spent for name, spent in call_s.items()},
            "ratio": {name: spent / call_s["ours"] for name, spent in call_s.items() if name != "ours"},
        }
    return found


def parts(size: jax_step.Size, rounds: int = 10) -> dict[str, Any]:
    """Table 3: ms an image of three structures, and what three heads and the refine module add."""
    ms = ms_per_image({row: replace(size.config, rows=(row,)) for row in PAPER_MS}, rounds)

    def added(times: dict[str, float]) -> dict[str, float]:
        three_heads = times["pmd_net"] - times["pmd_net_joint"]
        return {"three_heads": three_heads, "refine": times["pmd_net_refine"] - times["pmd_net"]}

    return {"ms": ms, "added_ms": added(ms), "paper_ms": PAPER_MS, "paper_added_ms": added(PAPER_MS)}
