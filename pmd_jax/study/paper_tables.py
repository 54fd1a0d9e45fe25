"""The paper's tables as studies: which networks stand side by side, and what the paper says of each.

A study is a base configuration and its variants; `pmd_jax.study` trains all variants over several seeds. Light to
import, as `pmd_jax.config.presets`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pmd_jax.config import TeacherConfig
from pmd_jax.config.methods import METHODS
from pmd_jax.config.presets import paper
from pmd_jax.study.definitions import Probe, Study, Variant

# ---- the paper's tables


def table1(dataset: str = "rendered") -> Study:
    betas = {0.1: 7.26, 0.3: 7.12, 0.5: 6.92, 1.0: 6.94, 2.0: 7.16}
    variants = {"vanilla": Variant("pmd_net", "PMD-Net", published={"stb": 7.46})}
    for beta, epe_mm in betas.items():
        title = f"with refine module, β = {beta:g}"
        variants[_key(f"β = {beta:g}")] = Variant("pmd_net_refine", title, {"loss.beta": beta}, {"stb": epe_mm})
    note = "The paper does not name the table's data set; two of its values are those of STB in its Table 2."
    title = "Table 1: weight of the first pose"
    return Study("table1", title, dataset, paper(dataset), variants, note=note, short_title="Table 1")


def table2(dataset: str = "rendered") -> Study:
    rows = ("rgb_baseline", "pmd_net_joint", "pmd_net", "pmd_net_refine", "pmd_net_refine_replace")
    variants = {row: Variant(row, METHODS[row].title, published=dict(METHODS[row].paper_epe_mm)) for row in rows}
    variants["depth_teacher"] = Variant("depth_teacher", "Depth baseline (sees depth; Figure 6)")
    return Study(
        "table2",
        "Table 2: the parts of PMD-Net",
        dataset,
        paper(dataset),
        variants,
        short_title="Table 2",
        error_bars=True,
        pck_curves=("depth_teacher", "rgb_baseline", "pmd_net"),
        poses=("rgb_baseline", "pmd_net"),
        probe=Probe("depth_teacher", "pmd_net", "rgb_baseline"),
    )


def table3(dataset: str = "rendered") -> Study:
    published = {"pmd_net_joint": 5.90, "pmd_net": 6.01, "pmd_net_refine": 6.09}
    variants = {row: Variant(row, METHODS[row].title, published={"paper": ms}) for row, ms in published.items()}
    note = (
        "One picture at a time, from the crop in memory to the joints in memory; the time depends on the structure "
        "alone, so the networks are not trained. The paper measured on a TITAN Xp with PyTorch."
    )
    base = paper(dataset)
    base.teacher.start = TeacherConfig().start  # nobody is taught: how a teacher starts renames no measured time
    title = "Table 3: test time"
    return Study("table3", title, dataset, base, variants, "ms_per_image", note, short_title="Table 3")


# ---- what the paper mentions without figures


def sweep_block_size(dataset: str = "rendered") -> Study:
    values = {f"K = {size}": {"augment.block_size": size} for size in (2, 5, 8, 11, 14, 20)}
    return _sweep("sweep_block_size", "Block length K", dataset, "pmd_net_refine_replace", values)


def sweep_block_probability(dataset: str = "rendered") -> Study:
    values = {f"p = {p:g}": {"augment.block_probability": p} for p in (0.0, 0.25, 0.5, 0.75, 1.0)}
    return _sweep("sweep_block_probability", "Probability of a block", dataset, "pmd_net_refine_replace", values)


def sweep_lambda(dataset: str = "rendered") -> Study:
    """How strongly, and where: all four λ scaled together, f₋₂ after and before its ReLU, and each layer alone."""
    feature, hidden = 1 / 16, 5 / 16
    ways = {"λ × 0": (0.0, 0.0, False)}
    for scale in (1.0, 10.0):
        for before in (False, True):
            title = f"λ × {scale:g}, {'before' if before else 'after'} the ReLU"
            ways[title] = (scale * feature, scale * hidden, before)
    ways |= {"feature only, λ × 10": (10 * feature, 0.0, True), "hidden layers only, λ × 10": (0.0, 10 * hidden, True)}
    values = {
        title: {
            "loss.lambda_feature": feature,
            "loss.lambda_hidden": (hidden,) * 3,
            "model.hidden_before_relu": before,
        }
        for title, (feature, hidden, before) in ways.items()
    }
    return _sweep("sweep_lambda", "Weights λ of the distillation, and its place", dataset, "pmd_net", values)


def sweep_baseline(dataset: str = "rendered") -> Study:
    """The paper does not say what the baseline is trained with, and L2 decay acts relative to the scale of the loss."""
    values = {
        "α · L_reg, α = 100": {"loss.alpha": 100.0},
        "plain L_reg, decayed 100 times as hard": {"loss.alpha": 1.0},
        "no weight decay": {"optim.weight_decay": 0.0},
    }
    return _sweep("sweep_baseline", "Loss scale and decay of the RGB baseline", dataset, "rgb_baseline", values)


def sweep_alpha(dataset: str = "rendered") -> Study:
    values = {f"α = {alpha:g}": {"loss.alpha": alpha} for alpha in (10.0, 30.0, 100.0, 300.0, 1000.0)}
    return _sweep("sweep_alpha", "Weight α of the regression", dataset, "pmd_net", values)


TABLES: tuple[Callable[[str], Study], ...] = (table1, table2, table3)
SWEEPS: tuple[Callable[[str], Study], ...] = (
    sweep_lambda,
    sweep_alpha,
    sweep_block_size,
    sweep_block_probability,
    sweep_baseline,
)


def _sweep(name: str, title: str, dataset: str, row: str, values: Mapping[str, dict[str, Any]]) -> Study:
    """Read on validation samples: a sweep is there to choose by, and the test split is not."""
    base = paper(dataset)
    base.data.eval_split = "validation"
    base.data.validation = base.data.validation or 2000
    variants = {_key(title): Variant(row, title, changes) for title, changes in values.items()}
    note = "Evaluated on validation samples held out from training."
    return Study(name, title, dataset, base, variants, note=note, heading_level=3)


def _key(title: str) -> str:
    """A name for files and commands: "β = 0.5" → "beta_0_5"."""
    for letter, name in {"α": "alpha", "β": "beta", "λ": "lambda", "×": "times"}.items():
        title = title.replace(letter, name)
    return "_".join(re.findall(r"[a-z0-9]+", title.lower()))
