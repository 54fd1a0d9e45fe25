"""What must be known of a data set that its samples do not say: one record each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# How others make a wrist of the palm centre: (MCP to start from, how many times as far from it as the palm).
WRIST_RULES = {"wrist_from_ring": (13, 2.0), "wrist_from_middle": (9, 2.2)}


@dataclass(frozen=True)
class DatasetInfo:
    """The facts of one data set.

    Attributes:
        title: as a document names it, with its source.
        licence: what its terms mean for a network that is trained on it.
        limits: what a network that is trained on it alone has not seen.
        joint_0_is_palm: joint 0 is the palm centre, not the wrist.
        label_free_box: what the crops of its configurations that need no joints go around; "" if it has none.
        film_key: a pattern of the keys of samples that are frames of a film: its groups are the film and the frame's
            number; "" if there are none.
        parts: configurations that hold a part of another one's training samples, which their keys number, and how many
            that one has: samples are held out as from all of it.
    """

    title: str
    licence: str = ""
    limits: str = ""
    joint_0_is_palm: bool = False
    label_free_box: str = ""
    film_key: str = ""
    parts: Mapping[str, int] = field(default_factory=dict)


KNOWN = {
    "rendered_hands": DatasetInfo(
        title="Rendered hands, drawn from a seed by this project",
        licence="The hand mesh is derived from CC0 data; these pictures put no terms on the network.",
        limits="It was trained on rendered hands. It is not made for photographs, and was measured on rendered hands "
        "only.",
        label_free_box="the hand's pixels",
        parts={"demo_mask_box": 40_000},
    ),
    "rhd": DatasetInfo(
        title="RHD (Rendered Hand Pose Dataset, Zimmermann and Brox 2017)",
        licence="RHD is for research only, not for commercial use; mind that with this network.",
        limits="It was trained on RHD's rendered people, not on photographs.",
        label_free_box="the hand's pixels",
    ),
    "stb": DatasetInfo(
        title="STB (Stereo Hand Pose Tracking Benchmark, Zhang et al. 2017)",
        licence="STB's repository is under the MIT licence.",
        limits="It was trained on one person's left hand before six backgrounds. Joint 0 is the palm's centre unless "
        "the protocol says otherwise.",
        joint_0_is_palm=True,
        label_free_box="the nearest depth segment",
        film_key=r"(stb/[^/]+/[^/_]+)_(?:SK|BB_left|BB_right)_(\d+)(?:/[^/]*)?",
    ),
    "rgbd_folder": DatasetInfo(
        title="RGB-D recordings of one's own",
        limits="It was trained on the recordings of one depth camera: few people, rooms and lights.",
        label_free_box="the nearest depth segment, cut at the wrist",
        film_key=r"(rgbd_folder/[^/]+/[^/]+)/(\d+)/[^/]+",
    ),
}


def info(dataset: str) -> DatasetInfo:
    """The record of a data set; of one that is not ours, its name and nothing else."""
    return KNOWN.get(dataset, DatasetInfo(dataset, label_free_box="the hand's pixels"))


def cropped_without_joints(dataset_config: str) -> bool:
    """Whether a data set's configuration of this name has crops that need no joints: its ending says so."""
    return dataset_config.endswith("mask_box")


def scenes(dataset: str, dataset_config: str) -> str:
    """What the samples of a configuration show, whatever their crops go around: "rendered_hands/large", say."""
    name = (
        dataset_config.removesuffix("mask_box").removesuffix("_")
        if cropped_without_joints(dataset_config)
        else dataset_config
    )
    return f"{dataset}/{name or 'default'}"


def cropped_around_joints(dataset: str, dataset_config: str) -> bool:
    """Whether the crops are known to be made of the joints. Of other people's data sets we cannot know."""
    return dataset in KNOWN and not cropped_without_joints(dataset_config)
