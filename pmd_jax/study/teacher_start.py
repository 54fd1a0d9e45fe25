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
        "The initial weights of teacher and student are drawn from one seed, so that all layers but the first are "
        "equal, or from two. Baseline and student share theirs either way."
    )
    return Study(
        "teacher_start", "Shared initial weights of teacher and student", dataset, paper(dataset), variants, note=note
    )
