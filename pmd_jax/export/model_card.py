"""What somebody who gets a network must know of it, from the run's own records: data, protocol, figures, limits.

Nothing is said that the records do not hold: a network without them gets a card that says so.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from pmd_jax.config import AugmentConfig, config_hash, cropped_without_joints
from pmd_jax.config.datasets import KNOWN, info
from pmd_jax.config.methods import METHODS
from pmd_jax.data import hand
from pmd_jax.evaluate import metrics
from pmd_jax.export.formats import FORMATS
from pmd_jax.models.saved_model import SavedModel
from pmd_jax.runtime import digest
from pmd_jax.viz import templates

RECORDS = "results.json"


def find_records(source: Path, exported: SavedModel) -> dict[str, Any] | None:
    """The results.json of the run that trained a network, or None if it is not there.

    It lies in the export's folder where an export has put it, else in the run's, one or two above. A file of another
    configuration or without this network is not its record.
    """
    for folder in (source, *source.resolve().parents[:2]):
        try:
            records = digest.read_json(folder / RECORDS)
            if records["config_hash"] == config_hash(exported.config) and exported.method in records["rows"]:
                return records
        except digest.Damaged as error:
            print(f"{error}: the network's card is written without its figures.", file=sys.stderr)
        except (OSError, KeyError, TypeError):
            continue
    return None


def render(exported: SavedModel, summary: dict[str, Any], records: dict[str, Any] | None) -> str:
    """The card as Markdown.

    Args:
        summary: the content of export.json.
        records: of results.json; see `find_records`.
    """
    config, method = exported.config, METHODS[exported.method]
    figures = records["rows"][exported.method] if records else {}
    auc, auc_range = metrics.find_auc(figures)
    return templates.render(
        "model_card.md",
        config=config,
        method=method,
        teacher=METHODS[method.teacher].title if method.teacher else None,
        summary=summary,
        records=records,
        figures=figures,
        auc=figures.get(auc),
        auc_range=auc_range,
        augmentation=_augmentation(config.augment, method.replaces),
        source=KNOWN.get(config.data.dataset),
        second=info(config.data.unlabelled.dataset) if config.data.unlabelled.dataset else None,
        protocol=metrics.protocol_name(config.evaluation, config.data.dataset, config.data.dataset_config),
        crop_margin=exported.crop_margin,
        target_frame=config.model.target_frame,
        cropped_without_joints=cropped_without_joints(config.data.dataset_config),
        joint_names=hand.JOINT_NAMES,
        formats=FORMATS,
    )


def _augmentation(augment: AugmentConfig, replaces: bool) -> str:
    """What was done to the training crops: the fields that are not at their defaults."""
    default = dataclasses.asdict(AugmentConfig())
    fields = {name: value for name, value in dataclasses.asdict(augment).items() if not name.startswith("block_")}
    words = [f"{name} = {value}" for name, value in fields.items() if value != default[name]]
    if replaces:
        words.append(f"random block replacement (K = {augment.block_size}, p = {augment.block_probability})")
    return ", ".join(words) or "none"
