"""Losses, block replacement, normalisation and metrics against a second implementation, in float64 to 1e-9."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmd_jax.config import AugmentConfig, EvaluationConfig, LossConfig
from pmd_jax.data import hand
from pmd_jax.data.augment import block_from_right, replace_block, sample_keys
from pmd_jax.evaluate import metrics
from pmd_jax.models.pmd_net import Prediction
from pmd_jax.train import losses
from reference import pmd_net_numpy as reference

TOLERANCE = 1e-9
LOSS = LossConfig(alpha=70.0, beta=0.3, lambda_feature=0.2, lambda_hidden=(0.7, 0.45, 1.1))
SHAPES = [(1, 32, 3), (5, 512, 3), (4, 64, 1)]  # samples, feature, heads (1: joint)
PAPERS_PROTOCOL = EvaluationConfig()

Arrays = dict[str, np.ndarray]


@pytest.fixture(autouse=True)
def _float64():
    """For these tests alone: the others run as training does."""
    with jax.enable_x64(True):
        yield


def made_up(samples: int, features: int, heads: int) -> tuple[Arrays, Arrays, np.ndarray]:
    """What a student and a teacher might say, and labels. A pose is the first pose and a residual."""
    generator = np.random.default_rng([samples, features, heads])
    shapes = {"feature": (samples, features), "hidden": (samples, heads, 64), "first": (samples, 21, 3)}
    shapes["residual"] = shapes["first"]
    student, teacher = ({name: generator.normal(size=shape) for name, shape in shapes.items()} for _ in range(2))
    return student, teacher, generator.normal(size=shapes["first"])


def ours(student: Arrays, teacher: Arrays, label: np.ndarray, refine: bool, distils: bool) -> jax.Array:
    def prediction(said: Arrays) -> Prediction:
        first = jnp.asarray(said["first"])
        pose = first + said["residual"] if refine else first
        return Prediction(jnp.asarray(said["feature"]), jnp.asarray(said["hidden"]), first, pose)

    lesson = prediction(teacher) if distils else None
    return losses.stage_two_loss(prediction(student), lesson, jnp.asarray(label), LOSS, refine)[0]


loss_and_gradient = jax.jit(jax.value_and_grad(ours), static_argnames=("refine", "distils"))


def theirs(student: Arrays, teacher: Arrays, label: np.ndarray, refine: bool, distils: bool) -> float:
    def vectors(said: Arrays) -> list[np.ndarray]:
        return [said["feature"], *(said["hidden"][:, head] for head in range(said["hidden"].shape[1]))]

    weights = (LOSS.lambda_feature, *LOSS.lambda_hidden)
    if student["hidden"].shape[1] == 1:
        weights = (LOSS.lambda_feature, sum(LOSS.lambda_hidden))
    distillation = reference.distillation_loss(vectors(student), vectors(teacher), weights) if distils else 0.0
    if refine:
        regression = reference.refined_regression_loss(student["first"], student["residual"], label, LOSS.beta)
    else:
        regression = reference.regression_loss(student["first"], label)
    return reference.stage_two_loss(distillation, regression, LOSS.alpha)


# ---- Eq. 1-6


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_stage_one_loss(shape):
    student, _, label = made_up(*shape)
    pose = jnp.asarray(student["first"])
    said = Prediction(jnp.asarray(student["feature"]), jnp.asarray(student["hidden"]), pose, pose)
    loss, _ = losses.stage_one_loss(said, jnp.asarray(label), LOSS)
    assert loss.dtype == jnp.float64
    np.testing.assert_allclose(loss, reference.regression_loss(student["first"], label), rtol=TOLERANCE)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("distils", [False, True])
def test_stage_two_loss(shape, refine, distils):
    case = made_up(*shape)
    loss, _ = loss_and_gradient(*case, refine=refine, distils=distils)
    assert loss.dtype == jnp.float64
    np.testing.assert_allclose(loss, theirs(*case, refine, distils), rtol=TOLERANCE)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("refine", [False, True])
def test_gradient_of_the_stage_two_loss(shape, refine):
    """Along random directions, against central differences of the other implementation.

    With a step of 1e-5 the differences are good to about 1e-8: 1e-10 of truncation, and the loss's own last digit
    (1e-13 of some 1000) divided by the step. No element crosses the kink of its L1 norm on the way.
    """
    student, teacher, label = made_up(*shape)
    _, gradient = loss_and_gradient(student, teacher, label, refine=refine, distils=True)
    generator, step = np.random.default_rng(0), 1e-5
    for _ in range(4):
        direction = {name: generator.normal(size=value.shape) for name, value in student.items()}
        for name in ("feature", "hidden"):
            assert (abs(student[name] - teacher[name]) > step * abs(direction[name])).all()
        ahead, behind = (
            {name: value + sign * step * direction[name] for name, value in student.items()} for sign in (1, -1)
        )
        expected = (theirs(ahead, teacher, label, refine, True) - theirs(behind, teacher, label, refine, True)) / (
            2 * step
        )
        found = sum(np.vdot(gradient[name], direction[name]) for name in student)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("refine", [False, True])
def test_zero_errors(refine):
    """Sample 0 has no pose error and each teacher is imitated perfectly.

    The pose's gradient is flat there (our reading), as central differences say too. At the kink of an L1 norm any slope
    up to the term's weight is right, and the libraries differ: JAX's `abs` has 1 at zero, PyTorch's 0.
    """
    student, _, label = made_up(3, 32, 3)
    student["first"][0], student["residual"][0] = label[0], 0
    case = (student, {name: value.copy() for name, value in student.items()}, label)
    loss, gradient = loss_and_gradient(*case, refine=refine, distils=True)
    np.testing.assert_allclose(loss, theirs(*case, refine, True), rtol=TOLERANCE)
    assert not gradient["first"][0].any()
    assert not gradient["residual"][0].any()
    assert np.isfinite(gradient["first"]).all()
    assert gradient["first"][1:].all()
    assert (abs(gradient["feature"]) <= LOSS.lambda_feature / 3).all()
    assert (abs(gradient["hidden"]) <= np.array(LOSS.lambda_hidden)[:, None] / 3).all()
    label[1:] = student["first"][1:] = student["residual"][1:] = 0
    assert loss_and_gradient(*case, refine=refine, distils=True)[0] == theirs(*case, refine, True) == 0


# ---- random block replacement


@pytest.mark.parametrize("length", [1, 5, 14, 32])  # RHD's is 5, STB's 14, and 32 leaves one column
def test_block_at_each_corner_of_its_range(length):
    image = np.random.default_rng(length).integers(0, 256, (64, 64, 3), np.uint8)
    corners = sorted(reference.block_corners(64, 64, length))
    replace = jax.jit(block_from_right, static_argnums=3)
    for row, column in (corners[0], corners[-1], corners[len(corners) // 3], (corners[-1][0], corners[0][1])):
        found = replace(image, row, column, length, True)
        np.testing.assert_array_equal(found, reference.replace_block(image, row, column, length))
        np.testing.assert_array_equal(replace(image, row, column, length, False), image)


@pytest.mark.parametrize("length", [5, 14])
def test_drawn_blocks(length):
    """Each drawn block is replaced as the other implementation does, and only blocks that fit are drawn."""
    images = np.random.default_rng(0).integers(0, 256, (100, 64, 64, 3), np.uint8)
    replaced, blocks = draw(images, AugmentConfig(block_size=length, block_probability=0.5))
    corners = reference.block_corners(64, 64, length)
    assert set(blocks[:, 2]) == {0, length}
    for image, found, (row, column, size) in zip(images, replaced, blocks.tolist(), strict=True):
        assert (row, column) in corners
        np.testing.assert_array_equal(found, reference.replace_block(image, row, column, size))


def test_every_fitting_block_is_drawn():
    """In a picture of 9×12 there are 30 places for a block of 4; 1,000 draws miss one with a chance of 1e-13."""
    images = np.zeros((1000, 9, 12, 1), np.uint8)
    _, blocks = draw(images, AugmentConfig(block_size=4))
    assert {(row, column) for row, column, _ in blocks.tolist()} == reference.block_corners(9, 12, 4)


def draw(images: np.ndarray, config: AugmentConfig) -> tuple[np.ndarray, np.ndarray]:
    """Our replacement, with the blocks that it drew."""

    @jax.jit
    def ours(images):
        return replace_block(images, sample_keys(3, jnp.int32(7), jnp.arange(len(images))), config)

    replaced, blocks = ours(images)
    return np.asarray(replaced), np.asarray(blocks)


# ---- normalisation and metrics


@pytest.mark.parametrize("library", [np, jnp], ids=["numpy", "jax"])
@pytest.mark.parametrize("samples", [1, 7])
def test_normalisation(library, samples):
    xyz_m = np.random.default_rng(samples).normal([0.02, -0.03, 0.5], 0.04, (samples, 21, 3))
    normalise = hand.normalise if library is np else jax.jit(hand.normalise)
    found = normalise(library.asarray(xyz_m))
    assert {part.dtype for part in found} == {np.dtype(np.float64)}
    for index, sample in enumerate(xyz_m):
        expected = reference.normalise_pose(sample)
        for part, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(part[index], wanted, rtol=TOLERANCE, atol=1e-12)
    np.testing.assert_allclose(hand.denormalise(found), xyz_m, rtol=TOLERANCE)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "protocol",
    [
        PAPERS_PROTOCOL,
        EvaluationConfig(count_root=False),
        EvaluationConfig(auc_from_mm=0.0, auc_points=51),
        EvaluationConfig(auc_points=20),
    ],
    ids=["the paper's", "20 joints", "0-50 mm", "20 thresholds"],
)
def test_figures(protocol, seed):
    """From poses in hand scales, with the root and scale known, to EPE, PCK and AUC."""
    generator = np.random.default_rng(seed)
    label = generator.normal(size=(9, 21, 3))
    label[:, 9] = 0
    pose = label + generator.normal(0, 0.3, label.shape)
    root_m, scale_m = generator.normal([0, 0, 0.5], 0.1, (9, 3)), generator.uniform(0.04, 0.1, 9)
    metres = [hand.denormalise(hand.NormalisedPose(p, root_m, scale_m)) for p in (pose, label)]
    found = metrics.evaluate(*metres, protocol)

    errors = reference.joint_errors_mm(pose, label, scale_m)
    np.testing.assert_allclose(found["epe_per_joint_mm"], errors.mean(0), rtol=TOLERANCE)
    if not protocol.count_root:
        errors = errors[:, [joint for joint in range(21) if joint != 9]]
    np.testing.assert_allclose(found["epe_mm"], reference.epe_mm(errors), rtol=TOLERANCE)
    np.testing.assert_allclose(found["pck"]["pck"], reference.pck(errors, range(51)), rtol=TOLERANCE)
    spacing = (protocol.auc_to_mm - protocol.auc_from_mm) / (protocol.auc_points - 1)
    thresholds = [protocol.auc_from_mm + i * spacing for i in range(protocol.auc_points)]
    area = reference.auc(errors, thresholds)
    assert 0.2 < area < 0.98
    np.testing.assert_allclose(found[metrics.auc_key(protocol)], area, rtol=TOLERANCE)


def test_errors_on_a_threshold_are_within_it():
    """Whole millimetres, on and off the grid's ends, so that both must treat equality alike."""
    errors = np.random.default_rng(0).integers(10, 60, (8, 21)).astype(float)
    thresholds = metrics.auc_thresholds_mm(PAPERS_PROTOCOL)
    np.testing.assert_array_equal(thresholds, reference.THRESHOLDS_MM)
    np.testing.assert_allclose(metrics.pck(errors, thresholds), reference.pck(errors), rtol=TOLERANCE)
    np.testing.assert_allclose(metrics.auc(errors, thresholds), reference.auc(errors), rtol=TOLERANCE)
