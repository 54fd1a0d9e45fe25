"""One step of training: pure functions of arrays, without mesh, jit or I/O.

The first argument says what does not change in a run, so that `jax.jit(functools.partial(train_step, recipe))` is all
that the loop adds; tests call the functions as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import optax
from jaxtyping import Array, Float, Int32

from pmd_jax.config import AugmentConfig, LossConfig
from pmd_jax.config.methods import Method
from pmd_jax.data.augment import draw_flips, sample_keys, training_inputs
from pmd_jax.data.inputs import Batch, Inputs, images_of
from pmd_jax.models.network import Network, Tree, Weights
from pmd_jax.models.pmd_net import Prediction
from pmd_jax.train.losses import Metrics, part_labelled_loss, stage_one_loss, stage_two_loss
from pmd_jax.train.state import AveragedState, TrainState
from pmd_jax.train.teacher_outputs import StepOutputs


class Recipe(NamedTuple):
    """What stays the same in all steps of a method."""

    method: Method
    network: Network
    optimizer: optax.GradientTransformation
    loss: LossConfig
    augment: AugmentConfig
    ema: float = 0.0  # decay of the average of an `AveragedState`
    depth_origin: str = "root"  # of the data


def loss_function(
    params: Tree, batch_stats: Tree, teacher: Prediction | None, inputs: Inputs, recipe: Recipe
) -> tuple[Float[Array, ""], tuple[Tree, Metrics]]:
    """A method's loss on a batch; what is differentiated is the first argument alone."""
    method = recipe.method
    prediction, new_stats = recipe.network.train(Weights(params, batch_stats), images_of(inputs, method.modality))
    if method.modality == "depth":
        loss, metrics = stage_one_loss(prediction, inputs.target, recipe.loss)
    elif method.unlabelled:
        assert teacher is not None
        loss, metrics = part_labelled_loss(prediction, teacher, inputs.target, recipe.loss, method.refine)
    else:
        loss, metrics = stage_two_loss(prediction, teacher, inputs.target, recipe.loss, method.refine)
    return loss, (new_stats, metrics)


def train_step(
    recipe: Recipe, state: TrainState, teacher: StepOutputs | None, batch: Batch, seed: Int32[Array, ""]
) -> tuple[TrainState, Metrics]:
    """One update.

    Args:
        recipe: what stays the same.
        state: may be donated.
        teacher: the frozen depth network, computed in evaluation mode or looked up, and not differentiated; None where
            none takes part.
        batch: uint8 and uint16 crops with their labels.
        seed: of the augmentation's draws, which also depend on the step and on each sample's index.

    Returns:
        The new state, and scalars: "loss" and its parts.
    """
    replaces, frame = recipe.method.replaces, recipe.network.frame
    inputs = training_inputs(batch, seed, state.step, recipe.augment, replaces, frame, recipe.depth_origin)
    taught = None
    if teacher is not None:
        flips = draw_flips(sample_keys(seed, state.step, batch.index), recipe.augment)  # those that `inputs` has
        taught = jax.lax.stop_gradient(teacher.outputs(batch.index, flips, inputs.depth))
    differentiate = jax.value_and_grad(loss_function, has_aux=True)
    (loss, (batch_stats, metrics)), gradients = differentiate(state.params, state.batch_stats, taught, inputs, recipe)
    updates, opt_state = recipe.optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    new = replace(state, step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state)
    if isinstance(new, AveragedState):
        new = new.averaged(recipe.ema)
    return new, {"loss": loss, **metrics}
