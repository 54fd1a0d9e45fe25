"""Training samples without joints: which they are, and what stands in for what the joints would tell.

A sample without labels has NaN for joints and none of them visible, whether nobody labelled it or `data.labelled`
leaves it out: its labels are taken away here, before anything else sees the samples, so no loss and no choice can.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from pmd_jax.config.methods import Method
from pmd_jax.data.dataset import Columns
from pmd_jax.data.depth_origin import RULES, is_measured
from pmd_jax.runtime.errors import ConfigError, DataError


def subsample_labels(columns: Columns, wanted: float, seed: int) -> Columns:
    """The samples with the labels of `wanted` of them; the others' are gone.

    Which are kept follows from the seed and each sample's key alone, so that fewer labels lie within more.

    Args:
        wanted: `config.data.labelled`: a number, a share of those that have labels, or 0 for all.

    Raises:
        DataError: no sample has labels.
        ConfigError: there are fewer labels than that, or the share comes to none.
    """
    labelled = np.flatnonzero(columns.has_label)
    if not labelled.size:
        raise DataError(f"None of the {len(columns)} training samples has joints; prepare some that have.")
    if wanted == 0:
        return columns
    count = round(wanted * len(labelled)) if wanted < 1 else int(wanted)
    if not 1 <= count <= len(labelled):
        raise ConfigError(
            f"config.data.labelled = {wanted:g} comes to {count} of the {len(labelled)} training samples with joints: "
            f"choose 1 to {len(labelled)}, a share, or 0 for all."
        )
    draws = [hashlib.sha256(f"{seed}/{key}".encode()).digest() for key in columns.key[labelled]]
    kept = np.zeros(len(columns), bool)
    kept[labelled[sorted(range(len(labelled)), key=draws.__getitem__)[:count]]] = True
    return without_labels(columns, ~kept)


def without_labels(columns: Columns, where: Bool[np.ndarray, " n"]) -> Columns:
    """The samples without the labels of some of them, and without what rests on these."""
    xyz, uv, origin = columns.xyz.copy(), columns.uv.copy(), columns.depth_origin_m.copy()
    xyz[where], uv[where], origin[where] = np.nan, np.nan, np.nan
    visible, is_left = columns.visible & ~where[:, None], columns.is_left & ~where
    return replace(columns, xyz=xyz, uv=uv, depth_origin_m=origin, visible=visible, is_left=is_left)


def training_subset(row: Method, columns: Columns) -> Columns:
    """What a row is trained on: the labelled samples, and the others where it can use them.

    Raises:
        ConfigError: the row wants samples without labels and there are none.
        DataError: a teacher that sees depth would see nothing in a sample.
    """
    has_label = columns.has_label
    if row.unlabelled and has_label.all():
        raise ConfigError(
            f"{row.title} learns from samples without labels, and all {len(columns)} have theirs: set "
            "config.data.labelled below that, name a second data set (config.data.unlabelled), or leave the row out."
        )
    part = columns if row.unlabelled or has_label.all() else columns.take(np.flatnonzero(has_label))
    if row.needs_depth:
        check_depth(row, part, "training")
    return part


def check_depth(row: Method, columns: Columns, what: str) -> None:
    """Refuses samples that would show a network nothing but zeros in place of depth.

    Args:
        what: the samples are, for the message.

    Raises:
        DataError: a sample has no pixel of depth.
    """
    blind = ~columns.fact("is_measured", is_measured)
    if blind.any():
        raise DataError(
            f"{row.title} needs depth, and {blind.sum()} of {len(columns)} {what} samples have none, first "
            f"{columns.key[blind.argmax()]}: leave these samples out, choose data with depth, or leave the row out of "
            "config.rows."
        )


# ---- what the joints would tell: where the depth input counts from


def place_depth_origin(columns: Columns, rule: str) -> Columns:
    """The samples with `depth_origin_m` as `config.data.depth_origin` says: the root's depth, or the map's own."""
    if rule == "root":
        return columns
    return replace(columns, depth_origin_m=columns.fact(f"{rule}_origin_m", RULES[rule]))
