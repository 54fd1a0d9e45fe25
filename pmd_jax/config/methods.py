"""The networks that the paper's tables compare, each as what makes it differ from the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One network to train and evaluate.

    Attributes:
        title: as the paper's tables name it.
        modality: "depth" (stage I, Eq. 2) or "rgb" (stage II, Eq. 5).
        distils: a depth teacher takes part in the loss (Eq. 3); without one, stage II's loss is α·L_reg.
        heads: "separate" sub-networks for X, Y and Z, or one "joint" head.
        refine: the refine branch (section 3.3).
        unlabelled: learns also from samples without labels, whose pose the teacher tells (beyond the paper).
        replaces: random block replacement of the RGB crops in training (section 3.4).
        paper_epe_mm: the published figure on each data set (Table 2), where there is one.
    """

    title: str
    modality: str = "rgb"
    distils: bool = False
    heads: str = "separate"
    refine: bool = False
    unlabelled: bool = False
    replaces: bool = False
    paper_epe_mm: tuple[tuple[str, float], ...] = ()

    @property
    def teacher(self) -> str | None:
        """The row whose network teaches this one: it must have the same heads to be imitated layer by layer."""
        if not self.distils:
            return None
        return "depth_teacher" if self.heads == "separate" else "depth_teacher_joint"

    @property
    def needs_depth(self) -> bool:
        """Whether it sees depth in training, itself or through its teacher."""
        return self.modality == "depth" or self.distils


METHODS = {
    "depth_teacher": Method("Depth teacher", modality="depth"),
    "depth_teacher_joint": Method("Depth teacher without 3 sub-networks", modality="depth", heads="joint"),
    "rgb_baseline": Method("RGB baseline", paper_epe_mm=(("rhd", 20.83), ("stb", 9.62))),
    "pmd_net_joint": Method(
        "PMD-Net without 3 sub-networks", distils=True, heads="joint", paper_epe_mm=(("rhd", 16.52), ("stb", 7.60))
    ),
    "pmd_net": Method("PMD-Net", distils=True, paper_epe_mm=(("rhd", 16.26), ("stb", 7.46))),
    "pmd_net_unlabelled": Method("PMD-Net + samples without labels", distils=True, unlabelled=True),
    "pmd_net_refine": Method(
        "PMD-Net + Refine", distils=True, refine=True, paper_epe_mm=(("rhd", 16.45), ("stb", 6.92))
    ),
    "pmd_net_refine_replace": Method(
        "PMD-Net + Refine + Random Replacement",
        distils=True,
        refine=True,
        replaces=True,
        paper_epe_mm=(("rhd", 16.14), ("stb", 6.80)),
    ),
}


def needed_teachers(rows: Iterable[str]) -> list[str]:
    """The teacher rows that the given rows are distilled from."""
    teachers = [METHODS[name].teacher for name in rows]
    return list(dict.fromkeys(name for name in teachers if name is not None))
