"""What each part of PMD-Net plus is worth: alone on top of PMD-Net, and left out of the whole. Light to import."""

from __future__ import annotations

from typing import Any

from pmd_jax.config.methods import METHODS
from pmd_jax.config.presets import label_free_inputs, paper, plus_changes, plus_parts, scale_schedule
from pmd_jax.study.definitions import Study, Variant
from pmd_jax.study.label_efficiency import ENOUGH

HEADS = "heads that read by maps"
LABELLED = 1000  # of the training samples, in the study of unlabelled samples


def plus(dataset: str = "rendered") -> Study:
    """PMD-Net, all parts, all but the teacher; "alone/<part>", also of those left out, and "without/<part>".

    A teacher has the parts of its student. Which heads is a property of the method; the other parts are fields of the
    configuration, `presets.plus_parts`.
    """
    base = scale_schedule(paper(dataset), ENOUGH.get(dataset, 1))
    parts = plus_parts(base)
    everything: dict[str, Any] = plus_changes(base)
    variants = {
        "pmd_net": Variant("pmd_net", METHODS["pmd_net"].title),
        "pmd_net_plus": Variant("pmd_net_plus", METHODS["pmd_net_plus"].title, everything),
        "rgb_baseline_plus": Variant("rgb_baseline_plus", METHODS["rgb_baseline_plus"].title, everything),
        "alone/heads": Variant("pmd_net_plus", f"PMD-Net with {HEADS}"),
        "alone/heatmap": Variant("pmd_net_heatmap", "PMD-Net with heatmaps and soft-argmax"),
    }
    for name, part in parts.items():
        variants[f"alone/{name}"] = Variant("pmd_net", f"PMD-Net with {part.title}", part.changes)
    variants["without/heads"] = Variant("pmd_net", f"PMD-Net plus without {HEADS}", everything)
    for name, part in ((name, part) for name, part in parts.items() if part.chosen):
        rest = {field: value for field, value in everything.items() if field not in part.changes}
        variants[f"without/{name}"] = Variant("pmd_net_plus", f"PMD-Net plus without {part.title}", rest)
    note = (
        "All variants of a seed have the same samples, steps and backbone. PMD-Net has no maps: alone, the goals are "
        "the teacher's pose."
    )
    return Study("plus", "PMD-Net plus, part by part", dataset, base, variants, note=note, differences=True)


def plus_labels(dataset: str = "rendered") -> Study:
    """Whether the teacher's gain stays where most samples have no label."""
    base = label_free_inputs(scale_schedule(paper(dataset), ENOUGH.get(dataset, 1)))
    everything = plus_changes(base)
    names = ("rgb_baseline", "pmd_net_unlabelled", "rgb_baseline_plus", "pmd_net_plus", "pmd_net_plus_unlabelled")
    variants = {name: Variant(name, METHODS[name].title, everything if "plus" in name else {}) for name in names}
    base.data.labelled = float(LABELLED)
    note = (
        f"{LABELLED:,} labels. The methods with unlabelled samples learn from the rest, too; the others leave it out. "
        "Crops and depth inputs need no joints."
    )
    return Study("plus_labels", "PMD-Net plus with few labels", dataset, base, variants, note=note, differences=True)
