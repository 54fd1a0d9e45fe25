"""The networks that the paper's tables compare, and those beyond the paper, each as what makes it differ."""

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
        pool: what the heads read of the last feature map: its "average" (the paper), or by a map for each joint:
            "attention", "heatmap" or "shared_maps" (`models.spatial`; beyond the paper; separate heads only).
        refine: the refine branch (section 3.3).
        unlabelled: learns also from samples without labels, whose pose the teacher tells (beyond the paper).
        replaces: random block replacement of the RGB crops in training (section 3.4).
        paper_epe_mm: the published figure on each data set (Table 2), where there is one.
    """

    title: str
    modality: str = "rgb"
    distils: bool = False
    heads: str = "separate"
    pool: str = "average"
    refine: bool = False
    unlabelled: bool = False
    replaces: bool = False
    paper_epe_mm: tuple[tuple[str, float], ...] = ()

    @property
    def teacher(self) -> str | None:
        """The row whose network teaches this one: it must have the same heads to be imitated layer by layer."""
        return TEACHERS[self.heads, self.pool] if self.distils else None

    @property
    def imitates_maps(self) -> bool:
        """Whether its teacher's maps can be a goal (`config.loss.lambda_maps`)."""
        return self.distils and self.pool != "average"

    @property
    def needs_depth(self) -> bool:
        """Whether it sees depth in training, itself or through its teacher."""
        return self.modality == "depth" or self.distils


TEACHERS = {  # by heads and pool
    ("separate", "average"): "depth_teacher",
    ("joint", "average"): "depth_teacher_joint",
    ("separate", "attention"): "depth_teacher_plus",
    ("separate", "heatmap"): "depth_teacher_heatmap",
    ("separate", "shared_maps"): "depth_teacher_shared_maps",
}
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
    # Beyond the paper. What else belongs to PMD-Net plus are fields of the configuration: `presets.plus_parts`.
    "depth_teacher_plus": Method("Depth teacher plus", modality="depth", pool="attention"),
    "rgb_baseline_plus": Method("RGB baseline plus", pool="attention"),
    "pmd_net_plus": Method("PMD-Net plus", distils=True, pool="attention"),
    "pmd_net_plus_unlabelled": Method(
        "PMD-Net plus + samples without labels", distils=True, pool="attention", unlabelled=True
    ),
    "depth_teacher_heatmap": Method("Depth teacher with heatmaps", modality="depth", pool="heatmap"),
    "rgb_baseline_heatmap": Method("RGB baseline with heatmaps", pool="heatmap"),
    "pmd_net_heatmap": Method("PMD-Net with heatmaps", distils=True, pool="heatmap"),
    "depth_teacher_shared_maps": Method("Depth teacher with shared maps", modality="depth", pool="shared_maps"),
    "rgb_baseline_shared_maps": Method("RGB baseline with shared maps", pool="shared_maps"),
    "pmd_net_shared_maps": Method("PMD-Net with shared maps", distils=True, pool="shared_maps"),
}


def needed_teachers(rows: Iterable[str]) -> list[str]:
    """The teacher rows that the given rows are distilled from."""
    teachers = [METHODS[name].teacher for name in rows]
    return list(dict.fromkeys(name for name in teachers if name is not None))
