"""What a configuration refuses, and its way to JSON and back."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

import pytest
from conftest import small_config

from pmd_jax.config import Config, LossConfig, config_hash, differences, from_dict, to_dict, validate
from pmd_jax.config.methods import METHODS
from pmd_jax.config.presets import with_fields
from pmd_jax.runtime.errors import ConfigError


def changed(path: str, value) -> Config:
    """The default configuration with one field set, as the command line does."""
    config = Config()
    *parents, name = path.split(".")
    owner = config
    for parent in parents:
        owner = getattr(owner, parent)
    assert hasattr(owner, name)
    setattr(owner, name, value)
    return config


def value_of(config: Config, path: str):
    for name in path.split("."):
        config = getattr(config, name)
    return config


# (field, refused values, accepted values at the limit, what the message says must be done)
LIMITS = [
    ("augment.block_size", (0, 33, -1), (1, 32), "fit in 64 px: choose 1 to 32"),
    ("augment.block_probability", (-0.1, 1.1, float("nan")), (0.0, 1.0), "choose 0 to 1"),
    ("augment.rotation_deg", (-1.0, 181.0, float("nan")), (0.0, 180.0), "choose 0 to 180"),
    ("augment.scale", (0.9, 1.6, float("nan")), (1.0, 1.5), "choose 1 to 1.5"),
    ("augment.shift", (-0.1, 0.3, float("nan")), (0.0, 0.25), "choose 0 to 0.25"),
    ("augment.background", (-0.1, 1.1, float("nan")), (0.0, 1.0), "choose 0 to 1"),
    ("augment.colour", (-0.1, 1.1, float("nan")), (0.0, 1.0), "choose 0 to 1"),
    ("augment.depth_background", (-0.1, 1.1, float("nan")), (0.0, 1.0), "choose 0 to 1"),
    ("augment.depth_sensor", (-0.1, 1.1, float("nan")), (0.0, 1.0), "choose 0 to 1"),
    ("model.reading", ("8/8/8/8", ""), ("32/16/8/8",), "choose from ['64/32/16/8', '32/16/8/8']"),
    ("model.width", (0, -4), (1,), "choose 1 or more (the paper: 64)"),
    ("model.blocks", ((3, 4, 6), (3, 4, 6, 0), ()), ((1, 1, 1, 1),), "four numbers of blocks, each 1 or more"),
    ("loss.lambda_hidden", ((1.0,), ()), ((0.0, 0.0, 0.0),), "give X, Y and Z"),
    ("loss.alpha", (-1.0, float("nan"), float("inf")), (0.0,), "choose a number ≥ 0"),
    ("loss.gamma", (-1.0, float("nan")), (0.0,), "choose a number ≥ 0"),
    ("loss.beta", (-1.0, float("nan")), (0.0,), "choose a number ≥ 0"),
    ("loss.lambda_maps", (-1.0, float("nan")), (0.0, 3.0), "choose a number ≥ 0"),
    ("loss.lambda_pose", (-1.0, float("nan")), (0.0, 3.0), "choose a number ≥ 0"),
    ("loss.distance", ("l3", ""), ("l2", "l1"), "choose from ('l2', 'l1')"),
    ("loss.lambda_feature", (-1.0, float("inf")), (0.0,), "choose a number ≥ 0"),
    ("data.eval_split", ("train", ""), ("test",), "choose test or validation"),
    ("data.validation", (-1,), (0, 10), "choose 0 or more"),
    ("data.labelled", (-1.0, 1.0, 2.5, float("nan"), float("inf")), (0.0, 0.5, 2.0, 3000.0), "0 for all (not 1)"),
    ("data.unlabelled_share", (-0.1, 1.0, float("nan")), (0.0, 0.9), "choose 0 (as they come) to below 1"),
    ("data.unlabelled.split", ("validation", ""), ("train", "test"), "choose train or test"),
    ("data.depth_origin", ("wrist", ""), ("root", "map", "front"), "choose from root, map, front"),
    ("evaluation.joint_0", ("wrist", ""), ("as_labelled",), "choose from as_labelled, wrist_from_ring, wrist_from_mid"),
    ("evaluation.auc_from_mm", (-1.0, float("nan"), float("inf")), (0.0, 49.9), "choose a number ≥ 0"),
    ("evaluation.auc_to_mm", (20.0, 10.0, float("nan"), float("inf")), (20.1, 80.0), "above auc_from_mm = 20"),
    ("evaluation.auc_points", (1, 0), (2, 20), "choose 2 (both ends) or more"),
    ("compute_dtype", ("float16", ""), ("auto", "float32", "bfloat16"), "'auto', 'float32', 'bfloat16'"),
    ("teacher.cache", ("yes", ""), ("auto", "on", "off"), "choose from auto, on, off"),
    ("teacher.start", ("alike", ""), ("same", "apart"), "choose from same, apart"),
    ("teacher.cache_device_mb", (-1,), (0,), "choose 0 (none on the devices) or more"),
    ("eval_batch", (0,), (1,), "choose 1 or more"),
    ("checkpoint_every", (0,), (1,), "choose 1 or more"),
    ("log_every", (0,), (1,), "choose 1 or more"),
    ("rows", ((),), (tuple(row for row in METHODS if not METHODS[row].unlabelled),), "name at least one row"),
    ("rows", (("pmd_net", "pmd_net"),), (("pmd_net", "rgb_baseline"),), "name each row once"),
] + [
    (f"{stage}{name}", refused, accepted, remedy)
    for stage in ("optim.", "teacher.optim.")
    for name, refused, accepted, remedy in [
        ("steps", (0,), (1,), "choose 1 or more"),
        ("batch", (1, 0), (2,), "batch norm needs at least 2 samples"),
        ("learning_rate", (0.0, -1e-4, float("nan")), (1e-9,), "choose a number > 0"),
        ("schedule", ("linear",), ("step", "cosine"), "choose step or cosine"),
        ("ema", (-0.1, 1.0, float("nan")), (0.0, 0.999), "choose 0 (no average) to below 1"),
        ("warmup_steps", (-1, 90_000), (0, 89_999), "choose 0 to 89999"),
    ]
]


def test_samples_without_labels_need_depths_without_a_root():
    config = changed("rows", ("pmd_net_unlabelled",))
    with pytest.raises(ConfigError, match="a sample without labels has no root: choose map or front"):
        validate(config)
    config.data.depth_origin = "map"
    config.data.dataset_config = "mask_box"
    validate(config)


@pytest.mark.parametrize("dataset", ["rendered_hands", "rhd", "stb"])
def test_samples_without_labels_need_crops_without_joints(dataset):
    """Else the box would tell what the missing labels say. Of other people's data sets we cannot know."""
    config = changed("rows", ("pmd_net_unlabelled",))
    config.data.dataset, config.data.depth_origin = dataset, "map"
    with pytest.raises(ConfigError, match=r"dataset_config = 'default': its crops are made from the joints.* mask_box"):
        validate(config)
    config.rows = ("pmd_net",)
    validate(config)
    config.rows, config.data.dataset = ("pmd_net_unlabelled",), "my_hands"
    validate(config)


def two_data_sets() -> Config:
    config = changed("data.unlabelled.dataset", "rendered_hands")
    config.rows, config.data.depth_origin = ("pmd_net_unlabelled",), "map"
    config.data.dataset_config, config.data.unlabelled.dataset_config = "large_mask_box", "mask_box"
    return config


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("data.depth_origin", "root", "depth_origin = 'root': .* no root: choose map"),
        ("data.unlabelled.dataset_config", "large", "unlabelled.dataset_config = 'large': .* from the joints"),
        ("data.unlabelled.dataset_config", "large_mask_box", "these samples are the labelled ones: name another"),
    ],
)
def test_nothing_of_a_second_data_set_rests_on_joints(field, value, sentence):
    config = two_data_sets()
    validate(config)
    with pytest.raises(ConfigError, match=sentence):
        validate(with_fields(config, {field: value}))
    if field == "data.depth_origin":  # for students that learn from the labelled samples alone, too
        with pytest.raises(ConfigError, match="the pairs of rendered_hands are used without their labels"):
            validate(with_fields(config, {field: value, "rows": ("pmd_net",)}))


def test_a_depth_teacher_alone_starts_from_nothing():
    validate(changed("start_from", "runs/other"))
    with pytest.raises(
        ConfigError, match=r"start_from = 'runs/other': students begin with it, and config\.rows has none"
    ):
        validate(with_fields(changed("start_from", "runs/other"), {"rows": ("depth_teacher",)}))


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [(field, value, remedy) for field, refused, _, remedy in LIMITS for value in refused],
)
def test_refused_with_field_value_and_remedy(field, value, remedy):
    with pytest.raises(ConfigError) as caught:
        validate(changed(field, value))
    message = str(caught.value)
    assert message.startswith(f"config.{field} = {value!r}: ")
    assert remedy in message


def test_an_unknown_row_is_named_with_the_known_ones():
    with pytest.raises(ConfigError) as caught:
        validate(Config(rows=("pmd_net", "no_such_row")))
    assert str(caught.value) == f"config.rows = 'no_such_row': choose from {', '.join(METHODS)}."


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, _, accepted, _ in LIMITS for value in accepted])
def test_accepted_at_the_limit(field, value):
    config = changed(field, value)
    for optim in (config.optim, config.teacher.optim):  # a drop may not lie inside the warm-up
        optim.decay_steps = tuple(step for step in optim.decay_steps if step > optim.warmup_steps)
    validate(config)
    assert value_of(config, field) == value


@pytest.mark.parametrize("changes", [{"eval_every": 10}, {"data.eval_split": "validation"}])
def test_evaluating_on_validation_samples_needs_some(changes):
    ((field, value),) = changes.items()
    config = changed(field, value)
    with pytest.raises(ConfigError, match=r"config\.data\.validation = 0: eval_every and eval_split need samples"):
        validate(config)
    config.data.validation = 1
    validate(config)


@pytest.mark.parametrize("config", [Config(), small_config()], ids=["default", "small"])
def test_defaults_are_accepted(config):
    before = to_dict(config)
    validate(config)
    assert to_dict(config) == before  # a check changes nothing


@pytest.mark.parametrize(
    ("field", "value"), [("rotation_deg", 30.0), ("scale", 1.2), ("shift", 0.1), ("background", 0.5)]
)
def test_a_table_of_the_teachers_outputs_needs_geometry_that_is_flips_alone(field, value):
    config = changed(f"augment.{field}", value)
    config.augment.flip_horizontal, config.augment.colour = True, 1.0
    for cache in ("auto", "off"):
        config.teacher.cache = cache
        validate(config)
    config.teacher.cache = "on"
    with pytest.raises(
        ConfigError, match=rf"^config\.teacher\.cache = 'on': with config\.augment\.{field} = {value:g} "
    ):
        validate(config)
    setattr(config.augment, field, getattr(Config().augment, field))
    validate(config)


def test_all_fields_that_forbid_the_table_are_named():
    config = changed("teacher.cache", "on")
    config.augment.rotation_deg, config.augment.shift = 30.0, 0.1
    with pytest.raises(
        ConfigError, match=r"augment\.rotation_deg = 30 and config\.augment\.shift = 0\.1 .*auto or off"
    ):
        validate(config)


@pytest.mark.parametrize("rule", ["wrist_from_ring", "wrist_from_middle"])
def test_only_a_palm_can_be_made_a_wrist(rule):
    config = changed("evaluation.joint_0", rule)
    config.data.dataset = "stb"
    validate(config)
    for dataset in ("rhd", "rendered_hands"):
        config.data.dataset = dataset
        with pytest.raises(ConfigError) as caught:
            validate(config)
        message = str(caught.value)
        assert message.startswith(f"config.evaluation.joint_0 = {rule!r}: joint 0 of {dataset} is a wrist")
        assert message.endswith("choose as_labelled.")


def test_defaults_are_the_papers():
    """Section 4.2 on RHD; docs/paper.md fixes the rest."""
    config = Config()
    assert (config.loss.lambda_feature, *config.loss.lambda_hidden) == (1 / 16, 5 / 16, 5 / 16, 5 / 16)
    assert (config.loss.alpha, config.loss.beta) == (100, 0.5)
    assert (config.augment.block_size, config.augment.block_probability) == (5, 0.5)
    for optim in (config.optim, config.teacher.optim):
        assert (optim.learning_rate, optim.weight_decay, optim.decay_steps) == (1e-4, 5e-4, (60_000,))
        assert (optim.schedule, optim.decay_factor, optim.decoupled) == ("step", 0.1, False)
        assert (optim.batch, optim.steps) == (64, 90_000)
    protocol = config.evaluation
    assert (protocol.joint_0, protocol.count_root) == ("as_labelled", True)
    assert (protocol.auc_from_mm, protocol.auc_to_mm, protocol.auc_points) == (20, 50, 31)
    assert (config.model.width, config.model.blocks, config.model.reading) == (64, (3, 4, 6, 3), "64/32/16/8")


def test_two_configurations_share_no_part():
    first, second = Config(), Config()
    first.optim.steps, first.teacher.optim.batch = 1, 2
    assert second == Config() != first


# ---- JSON and back


@pytest.mark.parametrize("config", [Config(), small_config(seed=5, rows=("pmd_net",))], ids=["default", "small"])
def test_round_trip_through_json(config):
    tree = json.loads(json.dumps(to_dict(config)))
    restored = from_dict(tree)
    assert restored == config
    assert isinstance(restored.model.blocks, tuple)
    assert isinstance(restored.loss.lambda_hidden, tuple)


def test_missing_fields_take_their_defaults():
    assert from_dict({"optim": {"steps": 7}}) == changed("optim.steps", 7)


@pytest.mark.parametrize(
    ("tree", "where"),
    [
        ({"sede": 1}, "config"),
        ({"optim": {"lr": 1}}, "config.optim"),
        ({"teacher": {"optim": {"a": 1}}}, "config.teacher.optim"),
    ],
)
def test_unknown_fields_are_named_with_the_known_ones(tree, where):
    with pytest.raises(ConfigError, match=rf"^{re.escape(where)} has unknown fields \['\w+'\]; this version knows \["):
        from_dict(tree)


def leaves(tree: dict, where: str = "") -> list[str]:
    paths = []
    for key, value in tree.items():
        paths += leaves(value, f"{where}{key}.") if isinstance(value, dict) else [where + key]
    return paths


def another(value):
    """A value of the same type that is not `value`."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, tuple):
        return (*value, value[0])
    return value + 1


@pytest.mark.parametrize("field", leaves(to_dict(Config())))
def test_every_field_counts_in_hash_and_differences(field):
    config = changed(field, another(value_of(Config(), field)))
    assert config_hash(config) != config_hash(Config())
    (line,) = differences(to_dict(config), to_dict(Config()))
    assert line.startswith(f"config.{field}: ")


@dataclass
class LaterLoss(LossConfig):
    gamma: float = 0.25


@dataclass
class Later(Config):
    """What a coming version may look like: a new field, a new one in a group, and a new group."""

    loss: LossConfig = field(default_factory=LaterLoss)
    new: int = 3
    group: LaterLoss = field(default_factory=LaterLoss)


def test_a_field_that_is_added_later_leaves_hashes_alone():
    assert config_hash(Later()) == config_hash(Config())
    assert config_hash(Later(seed=4)) == config_hash(Config(seed=4))
    hashes = {config_hash(later) for later in (Later(), Later(new=4), Later(loss=LaterLoss(gamma=1)))}
    assert len(hashes) == 3


def test_hashes_that_are_written_down_stay():
    """Tables name configurations by them. If this fails, a default has got another value: see `config_hash`."""
    assert config_hash(Config()) == "44136fa355b3"
    assert config_hash(changed("optim.batch", 16)) == "0c7b58b84725"


def test_hash_is_short_and_repeatable():
    assert config_hash(Config()) == config_hash(from_dict(to_dict(Config())))
    assert re.fullmatch(r"[0-9a-f]{12}", config_hash(Config()))


def test_differences_by_hand():
    ours, theirs = to_dict(Config()), to_dict(Config(seed=3))
    theirs["optim"]["steps"] = 5
    del theirs["loss"]["beta"]
    assert differences(ours, theirs) == [
        "config.loss.beta: 0.5 here, '(absent)' there",
        "config.optim.steps: 90000 here, 5 there",
        "config.seed: 0 here, 3 there",
    ]
    assert differences(ours, ours) == []


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("data.train_samples", -5, "0 (all) or more"),
        ("eval_every", -1, "0 (never) or more"),
        ("seed", 2**31, "0 to 2³¹−1"),
        ("name", "../elsewhere", "letters, digits and underscores"),
        ("loss.lambda_hidden", (1.0, float("nan"), 1.0), "numbers ≥ 0"),
        ("optim.learning_rate", float("inf"), "a number > 0"),
        ("optim.weight_decay", -1e-4, "a number ≥ 0"),
        ("optim.decay_factor", float("nan"), "a number ≥ 0"),
        ("teacher.optim.decay_steps", (5, 5), "rising steps"),
    ],
)
def test_values_that_would_fail_later_are_refused_now(field, value, remedy):
    with pytest.raises(ConfigError) as caught:
        validate(changed(field, value))
    assert str(caught.value).startswith(f"config.{field} = ")
    assert remedy in str(caught.value)


def test_a_drop_inside_the_warm_up_is_refused():
    config = Config()
    config.optim.warmup_steps, config.optim.decay_steps = 10, (5,)
    with pytest.raises(ConfigError, match="after the warm-up's 10"):
        validate(config)


@pytest.mark.parametrize("tree", [{"optim": 3}, {"model": {"blocks": 3}}, {"optim": {"steps": "x"}}])
def test_a_field_of_another_type_is_named(tree):
    with pytest.raises(ConfigError, match="is expected"):
        from_dict(tree)
