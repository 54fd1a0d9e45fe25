"""What it is worth to a student that its teacher starts from the same numbers. Light to import.

The units of a layer can change places without changing what a network computes, so trainings from different numbers
give layers that differ unit by unit. Eq. 3 compares unit by unit. The paper does not say how its networks start.
"""

from __future__ import annotations

from pmd_jax.config.methods import METHODS
from pmd_jax.config.presets import paper
from pmd_jax.study.definitions import Study, Variant

STARTS = {"same": "the same start", "apart": "starts drawn apart"}  # values of config.teacher.start
METHOD_NAMES = ("depth_teacher", "pmd_net")


def teacher_start(dataset: str = "rendered") -> Study:
    """The baseline, and teacher and student both ways; variants are called "<row>/<config.teacher.start>"."""
    variants = {"rgb_baseline": Variant("rgb_baseline", METHODS["rgb_baseline"].title)}
    for row in METHOD_NAMES:
        for start, words in STARTS.items():
            variants[f"{row}/{start}"] = Variant(row, f"{METHODS[row].title}, {words}", {"teacher.start": start})
    note = (
        "Teacher and student draw their initial weights from one seed, so that all but the first layer's are the same "
        "numbers; or from two. Baseline and student start alike either way."
    )
    return Study("teacher_start", "What the same start is worth", dataset, paper(dataset), variants, note=note)
