"""The depth camera: each fault where it belongs, none of them in a perfect one; NumPy and JAX alike."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pmd_jax.config import AugmentConfig
from pmd_jax.data.augment import sample_keys
from pmd_jax.data.depth_sensor import COARSE, SensorDraws, sense, sense_depth
from reference.made_up_columns import make_batch

SIZE = 32
FOCAL = np.float32(80)


def draws(level: float = 0.0, **changes) -> SensorDraws:
    """A camera whose only faults are those asked for, and steps and noise of its level."""
    random = np.random.default_rng(0)
    plain = SensorDraws(
        np.float32(level),
        baseline_m=np.float32(0),
        grazing=np.float32(0),
        dark=np.float32(99),
        slow=random.standard_normal((2, COARSE, COARSE), np.float32),
        noise=random.standard_normal((SIZE, SIZE), np.float32),
        chance=random.random((4, SIZE, SIZE), np.float32),
    )
    return plain._replace(**changes)


def square(near_m: float = 0.5, wall_m: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A flat square before a wall (0: before nothing), and where it is."""
    depth, where = np.full((SIZE, SIZE), round(wall_m * 1e4), np.uint16), np.zeros((SIZE, SIZE), bool)
    where[8:24, 8:24] = True
    depth[where] = round(near_m * 1e4)
    return depth, where


def test_a_perfect_camera_changes_nothing():
    depth, _ = square(0.5, 1.3)
    np.testing.assert_array_equal(sense_depth(depth, FOCAL, draws()), depth)


def test_what_is_missing_stays_missing():
    depth, where = square()
    seen = sense_depth(depth, FOCAL, draws(1.0, baseline_m=np.float32(0.06)))
    assert not seen[~where].any()
    assert seen[where].any()


@pytest.mark.parametrize("side", [1, -1])
def test_the_shadow_is_as_wide_as_the_disparities_differ(side):
    """80 px · 0.05 m · (1/0.5 − 1/1) = 4 px, on one side of the square."""
    depth, where = square(0.5, 1.0)
    seen = sense_depth(depth, FOCAL, draws(baseline_m=np.float32(side * 0.0501)))
    shadow = np.zeros_like(where)
    shadow[8:24, 4:8] = True
    np.testing.assert_array_equal(seen == 0, shadow if side > 0 else shadow[:, ::-1])


def test_steep_places_get_lost_and_edges_do_not():
    """Left half flat, right half as steep as 4 in 1: a cosine of 0.24."""
    metres = np.full((SIZE, SIZE), 0.5, np.float32)
    metres[:, 16:] += 4 * 0.5 / FOCAL * np.arange(1, 17)
    depth = np.round(metres * 1e4).astype(np.uint16)
    depth[:8] += 5000
    seen = sense_depth(depth, FOCAL, draws(grazing=np.float32(0.45), chance=np.full((4, SIZE, SIZE), 0.5, np.float32)))
    assert (seen[:, :15] > 0).all()
    assert (seen[9:, 18:] == 0).all()


def test_noise_and_steps_grow_with_the_distance():
    level, errors, steps = draws(1.0), [], []
    for metres in (0.4, 1.2):
        depth = np.full((SIZE, SIZE), round(metres * 1e4), np.uint16)
        seen = sense_depth(depth, FOCAL, level)
        errors.append(seen.astype(float).std())
        steps.append(np.diff(np.unique(seen)).min())
    assert errors[1] > 3 * errors[0] > 0
    assert steps[1] > 5 * steps[0] > 0


def test_flying_pixels_lie_between_the_surfaces_at_an_edge():
    depth, where = square(0.5, 0.9)
    quiet = draws(1.0, slow=np.zeros((2, COARSE, COARSE), np.float32), noise=np.zeros((SIZE, SIZE), np.float32))
    seen = sense_depth(depth, FOCAL, quiet).astype(int)
    flying = (seen > 5200) & (seen < 8700)
    assert flying.any()
    inside = np.zeros_like(where)
    inside[9:23, 9:23] = True
    outside = np.ones_like(where)
    outside[7:25, 7:25] = False
    assert not flying[inside | outside].any()


def test_dark_places_are_holes_together():
    depth = np.full((SIZE, SIZE), 5000, np.uint16)
    slow = np.zeros((2, COARSE, COARSE), np.float32)
    slow[0, 4, 4] = 5
    seen = sense_depth(depth, FOCAL, draws(0.1, dark=np.float32(2), slow=slow))
    assert seen[15, 15] == 0
    assert seen[0, 0] > 0
    assert 4 < (seen == 0).sum() < 60


def test_an_unknown_camera_and_an_empty_map_give_no_strange_numbers():
    depth, _ = square(0.5, 0.9)
    for one in (depth, np.zeros_like(depth)):
        seen = sense_depth(one, np.float32(0), draws(1.0, baseline_m=np.float32(0.05), grazing=np.float32(0.4)))
        assert seen.dtype == np.uint16
        assert not seen[one == 0].any()


def test_numpy_and_jax_agree():
    depth, _ = square(0.5, 0.9)
    how = draws(0.8, baseline_m=np.float32(-0.04), grazing=np.float32(0.3), dark=np.float32(1.2))
    ours = sense_depth(depth, FOCAL, how)
    theirs = jax.jit(sense_depth)(jnp.asarray(depth), jnp.asarray(FOCAL), jax.tree.map(jnp.asarray, how))
    assert (ours == 0).any()
    # The last bit of a reciprocal may decide on which step a value falls, seldom.
    assert (ours == np.asarray(theirs)).mean() > 0.99


def test_a_sample_is_seen_alike_at_every_place_of_a_batch_and_otherwise_at_every_step():
    batch, order = make_batch(4), [2, 0, 3, 1]
    config = AugmentConfig(depth_sensor=1.0)
    program = jax.jit(lambda part, step: sense(part, sample_keys(jnp.int32(0), step, part.index), config).depth)

    def seen(part, step=0):
        return np.asarray(program(part, jnp.int32(step)))

    together = seen(batch)
    np.testing.assert_array_equal(seen(jax.tree.map(lambda column: column[order], batch)), together[order])
    assert (seen(batch, 1) != together).any((1, 2)).all()
    assert sense(batch, sample_keys(jnp.int32(0), jnp.int32(0), batch.index), AugmentConfig()) is batch
