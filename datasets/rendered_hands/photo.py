"""The photo style: what can be in the picture of a hand, and what a camera makes of it.

Other things hide the hand or stand behind it; depth is that of whatever is nearest, as a depth camera sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from pmd_jax.data.hand import project

from . import camera, camera_effects, canvas, clothing, light, mesh, objects, photo_background, postures, skin, view
from .draws import Draws
from .kinematics import Transforms
from .raster import Hits, rasterise
from .scene import Hand, rows, sample_hand, surface

SECOND_HAND_SHARE = 0.2
SHAPE_SPREAD = 1.2  # people differ more than the characters that the mesh was baked from
_THINGS = 2


class PhotoScene(NamedTuple):
    """A batch of hands with their surroundings; every array has the batch as its first axis."""

    shape: Float[np.ndarray, "b 10"]  # standard deviations along the mesh's shape basis
    bones: Transforms
    labels: Float[np.ndarray, "b 21 3"]  # metres, hand frame
    placement: view.Placement
    look: skin.Look
    wear: clothing.Wear
    plump_m: Float[np.ndarray, " b"]  # flesh on all sides beyond the mesh's, whose fingers are slender
    radiance: Float[np.ndarray, "b d 3"]
    exposure: Float[np.ndarray, " b"]  # mean visible irradiance
    crevices: Float[np.ndarray, " b"]  # share of light that does not reach the deepest
    things: objects.Things
    has_second: Bool[np.ndarray, " b"]
    second_bones: Transforms
    second_placement: view.Placement
    surroundings: photo_background.Surroundings
    effects: camera_effects.Effects

    def lift(self) -> Float[np.ndarray, "b v"]:
        """How far flesh and clothes lie above the mesh, metres."""
        return clothing.lift(mesh.load(), self.wear) + self.plump_m[:, None].astype(np.float32)


def sample_scene(seed: int, indices: Sequence[int], views: str, frame: view.CropFrame | view.FullFrame) -> PhotoScene:
    """Draws a batch; each part has a random stream of its own."""

    def draws(stream: str) -> Draws:
        return Draws(seed, indices, f"photo {stream}")

    hand = sample_hand(draws("shape"), draws("pose"), postures.sample_angles, SHAPE_SPREAD)
    placement = view.place(draws("view"), hand.labels, hand.forearm, views, frame)
    second = sample_hand(draws("shape"), draws("second pose"), postures.sample_angles, SHAPE_SPREAD)
    exposure_draws = draws("exposure")
    exposure = np.exp(exposure_draws.normal(mean=np.log(0.52), std=0.33, clip=2.2))
    against_light = exposure_draws.chance(0.13)
    exposure = exposure * np.where(against_light, exposure_draws.uniform(low=0.12, high=0.5), 1)
    second_draws = draws("second view")
    return PhotoScene(
        shape=hand.shape,
        bones=hand.bones,
        labels=hand.labels,
        placement=placement,
        look=_sample_look(draws("look"), draws("skin")),
        wear=clothing.sample_wear(draws("wear")),
        plump_m=draws("flesh").normal(mean=0.0006, std=0.0008, clip=2),
        radiance=light.sample_strong_radiance(draws("light")),
        exposure=exposure,
        crevices=exposure_draws.uniform(low=0.15, high=0.6),
        things=objects.sample_things(draws("things"), placement.to_camera(hand.joints)),
        has_second=second_draws.chance(SECOND_HAND_SHARE),
        second_bones=second.bones,
        second_placement=_place_second(second_draws, second, hand, placement, frame),
        surroundings=photo_background.sample_surroundings(draws("background")),
        effects=camera_effects.sample_effects(draws("camera")),
    )


def _sample_look(draws: Draws, more: Draws) -> skin.Look:
    """Skin as in the plain style, more blotched and shining; sleeves are `clothing`'s."""
    look = skin.sample_look(draws)
    tint = np.exp(more.normal(3, std=0.05)) * (1, 1, 1.07)  # the palette is a little yellow beside photographs
    return look._replace(
        tone=(look.tone * tint).astype(np.float32),
        palm=(look.palm * tint).astype(np.float32),
        redness=more.uniform(low=0.2, high=1.8).astype(np.float32),
        blotch=more.uniform(low=0.01, high=0.09).astype(np.float32),
        detail=more.uniform(low=0.4, high=1.8).astype(np.float32),
        shine=more.uniform(low=0.3, high=3.0).astype(np.float32),
        has_sleeve=np.zeros_like(look.has_sleeve),
    )


def _place_second(draws: Draws, second: Hand, first: Hand, placement: view.Placement, frame) -> view.Placement:
    """The second hand beside the first or behind it, mostly of the other side; never in front of all of it."""
    placed = view.place(draws, second.labels, second.forearm, "everyday", frame)
    behind, heading = draws.chance(0.5), draws.uniform(high=2 * np.pi)
    away = np.where(behind, draws.uniform(low=0.05, high=0.17), draws.uniform(low=0.12, high=0.2))
    deeper = np.where(behind, draws.uniform(low=0.05, high=0.15), draws.normal(std=0.025))
    offset = np.stack([away * np.cos(heading), away * np.sin(heading), deeper], -1)
    middle = placement.to_camera(first.labels).mean(1)
    own_middle = placed.to_camera(second.labels).mean(1) - placed.translation
    return placed._replace(translation=middle + offset - own_middle, K=placement.K)


def draw(scene: PhotoScene, points, normals, hits: Hits, shape: tuple[int, int]) -> canvas.Canvas:
    """A batch of pictures; arguments as in `plain.draw`."""
    hand = mesh.load()
    drawn = canvas.on(photo_background.surround(scene.surroundings, shape))
    covered = drawn.depth.astype(bool)
    covered.reshape(-1)[hits.pixel] = True
    photo_background.cast_shadow(scene.surroundings, covered, drawn.rgb)
    lighting = light.light(hand, points, normals, scene.radiance, scene.exposure)
    drawn.put(hits, _shade(hits, scene, lighting), ~hand.is_forearm[hits.face])
    _put_things(drawn, scene, shape)
    _put_second_hand(drawn, scene, shape)
    drawn.darken_crevices(scene.crevices)
    outside = camera_effects.outside(scene.effects, shape)
    drawn.depth[outside], drawn.mask[outside] = 0, False
    return drawn._replace(rgb=camera_effects.capture(scene.effects, drawn.rgb), shown=~outside)


def _put_things(drawn: canvas.Canvas, scene: PhotoScene, shape: tuple[int, int]) -> None:
    chosen = np.flatnonzero(scene.things.present.any(1))
    if not len(chosen):
        return
    faces, some = objects.mesh_faces(_THINGS), rows(scene, chosen)
    points, local = objects.mesh_points(some.things)
    uv = project(points, some.placement.K.astype(np.float32))
    hits = rasterise(uv, points[..., 2], faces, np.ones(len(points)), shape)
    colour = objects.shade(some.things, faces, points, local, hits, some.radiance, some.exposure)
    drawn.put(hits, camera.expose(colour), np.zeros(len(colour), bool), chosen)


def _put_second_hand(drawn: canvas.Canvas, scene: PhotoScene, shape: tuple[int, int]) -> None:
    chosen = np.flatnonzero(scene.has_second)
    if not len(chosen):
        return
    hand, some = mesh.load(), rows(scene, chosen)
    placement = some.second_placement
    points, normals = surface(some.shape, some.second_bones, placement, some.lift())
    uv = project(points, placement.K.astype(np.float32))
    hits = rasterise(uv, points[..., 2], hand.faces, np.where(placement.is_left, -1, 1), shape)
    lighting = light.light(hand, points, normals, some.radiance, some.exposure)
    colour = _shade(hits, some, lighting)
    drawn.put(hits, colour, np.zeros(len(colour), bool), chosen)


def _shade(hits: Hits, scene: PhotoScene, lighting: light.Lighting) -> UInt8[np.ndarray, "n 3"]:
    """Colours of the pixels that a hand covers."""
    hand, look = mesh.load(), scene.look
    corners = hand.faces[hits.face]
    lit = np.concatenate([lighting.irradiance, lighting.gloss, skin.albedo(hand, look)], -1).reshape(-1, 9)
    offset = hits.sample * len(hand.vertices)
    at_pixel = hits.interpolate(lit, corners + offset[:, None])
    rest = hits.interpolate(_rest_attributes(), corners)
    colour, shine = skin.surface_colour(look, hits.sample, rest[:, :2], rest[:, 4], at_pixel[:, 6:])
    irradiance = at_pixel[:, :3]
    # Light that went in and out of skin more than once is what reaches the shade: redder there.
    shaded = np.clip(1 - irradiance[:, 1] / scene.exposure[hits.sample].astype(np.float32), 0, 1)
    colour *= (colour / np.maximum(colour[:, :1], np.float32(1e-3))) ** (np.float32(0.22) * shaded[:, None])
    clothing.dress(scene.wear, hits.sample, rest[:, :3], rest[:, 3], rest[:, 4], colour, shine)
    return camera.expose(colour * irradiance + shine[:, None] * at_pixel[:, 3:6])


@cache
def _rest_attributes() -> Float[np.ndarray, "v 5"]:
    """Rest place, share of nail, share of palm."""
    hand = mesh.load()
    return np.concatenate([hand.vertices, hand.nail[:, None], skin.palm_share()[:, None]], 1).astype(np.float32)
