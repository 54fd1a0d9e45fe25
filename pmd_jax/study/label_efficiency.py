"""How few labels will do: four networks at several numbers of labelled samples, the rest without labels or left out.

The paper does not do this; it is where the depth teacher pays most. Light to import, as `pmd_jax.study.paper_tables`.
"""

from __future__ import annotations

from pmd_jax.config.methods import METHODS
from pmd_jax.config.presets import label_free_inputs, paper, scale_schedule
from pmd_jax.study.definitions import Study, Variant

METHOD_NAMES = ("rgb_baseline", "pmd_net", "pmd_net_unlabelled", "depth_teacher")
LENGTHS = {"1": "the tables' schedule", "3": "three times as long"}
ENOUGH = {"rendered": 3}  # times the tables' schedule, which on two cores ends before few labels do (label_steps)
COUNTS = {"250": 250, "1000": 1000, "3000": 3000, "all": 0}  # 0 as config.data.labelled means it


def labels(dataset: str = "rendered") -> Study:
    """EPE against the number of labels; variants are called "<row>/<labels>".

    With all labels there is nothing left to learn from without one, so that row ends before.
    """
    variants = {
        f"{row}/{count}": Variant(row, f"{METHODS[row].title}, {_words(count)}", {"data.labelled": float(labelled)})
        for row in METHOD_NAMES
        for count, labelled in COUNTS.items()
        if labelled or not METHODS[row].unlabelled
    }
    base = scale_schedule(label_free_inputs(paper(dataset)), ENOUGH.get(dataset, 1))
    note = (
        "All methods of a seed have the same steps, labels and crops. Crops go around the hand's pixels and depth "
        "inputs count from the depth map itself, so that unlabelled samples need no joints for them. Which labels are "
        "kept follows from the seed; fewer are a subset of more. At test the true root and scale are known, as in all "
        "tables."
    )
    return Study("labels", "How few labels will do", dataset, base, variants, note=note)


def label_steps(dataset: str = "rendered") -> Study:
    """3,000 labels with the tables' schedule and a longer one: variants are called "<row>/<times the schedule>"."""
    base = label_free_inputs(paper(dataset))
    base.data.labelled = 3000.0
    variants = {}
    for times, title in LENGTHS.items():
        lasting = scale_schedule(base, int(times))
        changes = {
            "optim.steps": lasting.optim.steps,
            "optim.decay_steps": lasting.optim.decay_steps,
            "teacher.optim.steps": lasting.teacher.optim.steps,
            "teacher.optim.decay_steps": lasting.teacher.optim.decay_steps,
        }
        for row in METHOD_NAMES:
            variants[f"{row}/{times}"] = Variant(row, f"{METHODS[row].title}, {title}", changes)
    note = "3,000 labels. A short training does not exhaust the few labels; the unlabelled samples pay in a longer one."
    return Study("label_steps", "Few labels and longer training", dataset, base, variants, note=note)


def label_weights(dataset: str = "rendered") -> Study:
    """How much the teacher's pose weighs against a label, and the share of a batch without labels, at 3,000 labels."""
    base = label_free_inputs(paper(dataset))
    base.data.labelled, base.data.eval_split = 3000.0, "validation"
    base.data.validation = base.data.validation or 2000
    row = "pmd_net_unlabelled"
    variants = {"gamma_1": Variant(row, "γ = α, samples as they come")}
    for times in (0.3, 3.0):
        changes = {"loss.gamma": times * base.loss.alpha}
        variants[f"gamma_{times:g}".replace(".", "_")] = Variant(row, f"γ = {times:g} α", changes)
    for share in (0.5, 0.25):
        changes = {"data.unlabelled_share": share}
        variants[f"share_{100 * share:.0f}"] = Variant(row, f"{share:.0%} of a batch without labels", changes)
    note = "3,000 labels, the tables' schedule. Evaluated on validation samples held out from training."
    return Study("label_weights", "Weight and share of unlabelled pairs", dataset, base, variants, note=note)


def label_free(dataset: str = "rendered") -> Study:
    """What crops and depths cost that need no joints: all labels, one choice at a time."""
    base = paper(dataset)
    box = {"data.dataset_config": label_free_inputs(paper(dataset)).data.dataset_config}
    origin = {"data.depth_origin": "map"}
    variants = {
        "depth_joints": Variant("depth_teacher", "Depth teacher, box around the joints, depth from the root"),
        "depth_mask": Variant("depth_teacher", "Depth teacher, box around the hand's pixels, depth from the root", box),
        "depth_map": Variant(
            "depth_teacher", "Depth teacher, box around the hand's pixels, depth from the map", box | origin
        ),
        "rgb_joints": Variant("rgb_baseline", "RGB baseline, box around the joints"),
        "rgb_mask": Variant("rgb_baseline", "RGB baseline, box around the hand's pixels", box | origin),
    }
    note = "The joints' box and the root's depth are derived from labels, on test samples too."
    return Study("label_free", "What inputs without joints cost", dataset, base, variants, note=note)


def _words(count: str) -> str:
    return "all labels" if count == "all" else f"{int(count):,} labels"
