"""RHD's reader gives back what the miniature archive was made from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pmd_jax.data import selfcheck
from pmd_jax.prepare import registry
from pmd_jax.prepare.archive import Archive
from pmd_jax.prepare.finding import find_archive
from pmd_jax.runtime.errors import ArchiveError
from reference import mini_archives
from reference.mini_archives import RhdFrame

registry.register_datasets()

from pmd_datasets.rhd import annotations  # noqa: E402
from pmd_datasets.rhd import frames as rhd  # noqa: E402


@pytest.fixture(scope="module")
def frames() -> list[RhdFrame]:
    return mini_archives.rhd_frames(6, seed=3)


def read(tmp_path, frames, settings=None, entries=None) -> rhd.Outcome:
    """The outcome of one task over an unpacked archive of `frames`."""
    files = {}
    for number, frame in enumerate(frames):
        files |= frame.files("training", number)
    mini_archives.write_tree(tmp_path, files)
    entries = tuple(enumerate([frame.entry() for frame in frames] if entries is None else entries))
    return rhd.read_task(rhd.Task(Archive(tmp_path), "train", entries, settings or rhd.Settings()))


def larger_side(frame: RhdFrame) -> str:
    left, right = ((frame.mask >= low) & (frame.mask <= low + 15) for low in (2, 18))
    return "left" if left.sum() > right.sum() else "right"


def pushed_out(frame: RhdFrame, shift_px: int) -> RhdFrame:
    """The same picture further right, so that its hand leaves it."""

    def push(picture: np.ndarray, filler: int) -> np.ndarray:
        pushed = np.roll(picture, shift_px, axis=1)
        pushed[:, :shift_px] = filler
        return pushed

    return dataclasses.replace(
        frame,
        rgb=push(frame.rgb, 255),
        depth_code=push(frame.depth_code, 60_000),
        mask=push(frame.mask, 0),
        K=frame.K + np.array([[0, 0, shift_px], [0, 0, 0], [0, 0, 0]]),
    )


def test_sample_is_the_truth(tmp_path, frames):
    leaving = pushed_out(frames[1], 319 - int(frames[1].uv_px(larger_side(frames[1]))[:, 0].mean()))
    frames = [*frames, leaving]
    outcome = read(tmp_path, frames)
    assert not outcome.problems
    assert len(outcome.examples) == len(frames)
    for number, (example, frame) in enumerate(zip(outcome.examples, frames, strict=True)):
        side = larger_side(frame)
        assert example["key"] == f"rhd/train/{number:05d}/{side}"
        assert example["is_left"] == (side == "left")
        np.testing.assert_allclose(example["xyz"], frame.xyz_m[side], atol=1e-4)
        np.testing.assert_array_equal(example["visible"], frame.visible[side])

        # The crop rule, written down again: a square around the joints, 1.5 times the larger extent, to 64 pixels.
        true_uv = frame.uv_px(side)
        low, high = true_uv.min(0), true_uv.max(0)
        width = 1.5 * (high - low).max()
        corner = (low + high) / 2 + 0.5 - width / 2
        np.testing.assert_allclose(example["uv"], (true_uv - corner + 0.5) * 64 / width - 0.5, atol=0.1)
        projected = example["xyz"] @ example["K"].T
        np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], example["uv"], atol=1e-3)

        # Depth: the original sample under each crop pixel's centre, in tenths of a millimetre.
        centres = np.floor(corner + (np.arange(64)[:, None] + 0.5) * width / 64).astype(int)
        inside = (centres >= 0) & (centres < 320)
        columns, rows = centres.clip(0, 319).T
        units = np.rint(frame.depth_code[rows][:, columns] * (50_000 / 65_535))
        expected = np.where(inside[:, 1][:, None] & inside[:, 0][None], units, 0)
        np.testing.assert_array_equal(example["depth"], expected)
        assert expected.any()
        assert not example["rgb"][~inside[:, 1]].any()
    assert (example["depth"][32] == 0).sum() > 20  # the last hand lies half out of the picture


def test_depth_decoder_is_exact():
    codes = np.arange(65_536, dtype=np.uint32).reshape(256, 256)
    picture = np.stack([codes >> 8, codes & 255, np.full_like(codes, 77)], -1).astype(np.uint8)
    np.testing.assert_allclose(rhd.decode_depth_m(picture), codes * 5 / 65_535, rtol=1e-15)


def test_the_hand_with_more_pixels_is_taken_and_ties_go_right(tmp_path, frames):
    two = next(frame for frame in frames if has_left(frame) and has_right(frame))
    mask = np.zeros_like(two.mask)
    mask[:2, :10], mask[4:6, :10] = 5, 20
    tied = dataclasses.replace(two, mask=mask)
    more_left = dataclasses.replace(two, mask=np.where(np.arange(320) == 100, 9, mask).astype(np.uint8))
    person = dataclasses.replace(two, mask=np.where(mask == 20, 1, mask).astype(np.uint8))
    outcome = read(tmp_path, [tied, more_left, person])
    assert [example["is_left"] for example in outcome.examples] == [False, True, True]


def has_left(frame: RhdFrame) -> bool:
    return bool(((frame.mask >= 2) & (frame.mask <= 17)).any())


def has_right(frame: RhdFrame) -> bool:
    return bool((frame.mask >= 18).any())


def test_both_hands_and_the_more_visible_one(tmp_path, frames):
    both = read(tmp_path / "both", frames, rhd.Settings(hands="both")).examples
    drawn = sum(has_left(frame) + has_right(frame) for frame in frames)
    assert len(both) == drawn > len(frames)
    assert len({example["key"] for example in both}) == drawn

    two = next(frame for frame in frames if has_left(frame) and has_right(frame))
    loser = {"left": "right", "right": "left"}[larger_side(two)]
    seen = {loser: np.ones(21, bool), larger_side(two): np.zeros(21, bool)}
    (example,) = read(
        tmp_path / "seen", [dataclasses.replace(two, visible=seen)], rhd.Settings(choose_by="visible")
    ).examples
    assert example["is_left"] == (loser == "left")


@pytest.mark.parametrize("first", [True, False])
def test_a_hand_that_is_no_use_costs_the_other_nothing(tmp_path, frames, first):
    """A joint behind the camera: the hand is named, the other one of the picture and the next picture are kept."""
    two = next(frame for frame in frames if has_left(frame) and has_right(frame))
    bad, good = ("right", "left") if first else ("left", "right")  # the right hand is read first
    behind = two.xyz_m[bad].copy()
    behind[4, 2] = -0.1
    outcome = read(
        tmp_path,
        [dataclasses.replace(two, xyz_m={**two.xyz_m, bad: behind}), two],
        rhd.Settings(hands="both"),
    )
    keys = [example["key"] for example in outcome.examples]
    assert keys == [f"rhd/train/00000/{good}", "rhd/train/00001/right", "rhd/train/00001/left"]
    assert len(outcome.observations) == 3
    [problem] = outcome.problems
    assert f"training, frame 00000: {bad} hand: a joint lies behind the camera (z = -0.100 m)." in problem


def test_size_and_margin_are_settings(tmp_path, frames):
    wide, usual = (
        read(tmp_path / str(margin), frames[:1], rhd.Settings(size=96, margin=margin)).examples[0]
        for margin in (3.0, 1.5)
    )
    assert wide["rgb"].shape == (96, 96, 3)
    assert wide["depth"].shape == (96, 96)
    np.testing.assert_allclose(usual["K"][0, 0] / wide["K"][0, 0], 2, rtol=1e-6)


@pytest.mark.parametrize("place", ["", "RHD_published_v2/"])
@pytest.mark.parametrize("zipped", [True, False])
def test_archive_is_found_with_and_without_its_top_folder(tmp_path, place, zipped):
    files = {"training/anno_training.pickle": b"labels"}
    if zipped:
        mini_archives.write_zip(tmp_path / "RHD_v1-1.zip", files, place)
    else:
        mini_archives.write_tree(tmp_path, {place + name: data for name, data in files.items()})
    archive = find_archive(tmp_path, annotations.annotation_name("train"))
    assert archive.read("training/anno_training.pickle") == b"labels"
    assert archive.names() == set(files)


# ---- what is wrong with a frame


def broken_entries(entry: dict) -> dict[str, tuple[object, str]]:
    """A fault each, and what the complaint says."""
    nan = entry["xyz"].copy()
    nan[25, 1] = np.nan
    one_point = entry | {"xyz": np.tile([[0.0, 0.0, 0.5]], (42, 1))}
    behind = entry | {"xyz": entry["xyz"] * [1, 1, -1]}
    return {
        "nan": (entry | {"xyz": nan}, "xyz holds NaN or infinity"),
        "shape": (entry | {"uv_vis": entry["uv_vis"][:21]}, r"uv_vis is float64 of shape \(21, 3\)"),
        "absent": ({"xyz": entry["xyz"], "uv_vis": entry["uv_vis"]}, "K is NoneType"),
        "text": (entry | {"K": np.array([["a"] * 3] * 3)}, "K is <U1 of shape"),
        "focal": (entry | {"K": entry["K"] * [[-1], [1], [1]]}, "K has a focal length of -"),
        "list": ([1, 2], "the annotation is a list"),
        "zero_size": (one_point, "joint 0 and the middle MCP lie at one place"),
        "behind": (behind, "a joint lies behind the camera"),
        "huge": (entry | {"K": entry["K"] * [[500], [500], [1]]}, "the crop would be .* px wide"),
    }


@pytest.mark.parametrize("fault", ["nan", "shape", "absent", "text", "focal", "list", "zero_size", "behind", "huge"])
def test_bad_annotation_of_one_frame_is_named_and_the_rest_goes_on(tmp_path, frames, fault):
    entry, complaint = broken_entries(frames[1].entry())[fault]
    outcome = read(tmp_path, frames[:3], entries=[frames[0].entry(), entry, frames[2].entry()])
    assert len(outcome.examples) == 2
    assert outcome.frames == 3
    with pytest.raises(ArchiveError, match=f"training, frame 00001: .*{complaint}"):
        raise ArchiveError(*outcome.problems)


def test_a_frame_without_hand_pixels_is_named(tmp_path, frames):
    handless = dataclasses.replace(frames[0], mask=np.ones((320, 320), np.uint8))
    outcome = read(tmp_path, [handless])
    assert not outcome.examples
    assert "frame 00000: neither hand has a pixel in the mask" in outcome.problems[0]


# ---- a wrong reading shows


def swapped_bytes(frame: RhdFrame) -> RhdFrame:
    return dataclasses.replace(frame, depth_code=frame.depth_code.byteswap())


def in_world_frame(entry: dict) -> dict:
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    return entry | {"xyz": entry["xyz"] @ turn.T + [0.1, 0, 0.2]}


def from_base_to_tip(entry: dict) -> dict:
    order = np.concatenate([annotations.TO_OUR_ORDER, annotations.TO_OUR_ORDER + 21])
    return entry | {"xyz": entry["xyz"][order], "uv_vis": entry["uv_vis"][order]}


def sides_swapped(entry: dict) -> dict:
    return entry | {name: np.roll(entry[name], 21, axis=0) for name in ("xyz", "uv_vis")}


def in_millimetres(entry: dict) -> dict:
    return entry | {"xyz": 1000 * entry["xyz"]}


def complaints(outcome) -> str:
    return " ".join(selfcheck.complaints(selfcheck.statistics(outcome.observations)))


def test_the_right_reading_passes_the_self_check(tmp_path, frames):
    assert complaints(read(tmp_path, frames)) == ""


def test_self_check_sees_swapped_depth_bytes(tmp_path, frames):
    assert "the depth's byte order" in complaints(read(tmp_path, [swapped_bytes(frame) for frame in frames]))


@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [
        (in_world_frame, "xyz is not in the camera's frame"),
        (from_base_to_tip, "the joints run from tip to base"),
        (sides_swapped, "left and right hands are swapped"),
    ],
)
def test_self_check_sees_wrong_labels(tmp_path, frames, mistake, complaint):
    outcome = read(tmp_path, frames, entries=[mistake(frame.entry()) for frame in frames])
    assert complaint in complaints(outcome)


def test_joints_in_millimetres_are_refused_frame_by_frame(tmp_path, frames):
    outcome = read(tmp_path, frames, entries=[in_millimetres(frame.entry()) for frame in frames])
    assert not outcome.examples
    assert all("m apart (limit 1 m): give joints in metres" in problem for problem in outcome.problems)


def test_a_mask_of_other_labels_is_refused(tmp_path, frames):
    scaled = dataclasses.replace(frames[0], mask=frames[0].mask * 7)
    assert "the mask has a label" in read(tmp_path, [scaled]).problems[0]


def test_a_mask_of_something_else_is_no_sample(tmp_path, frames):
    """A crop around other pixels than the hand's: its visible joints lie outside."""
    mask = np.zeros((320, 320), np.uint8)
    mask[:4, :4] = 20 if has_right(frames[1]) else 3
    outcome = read(tmp_path, [dataclasses.replace(frames[1], mask=mask)], rhd.Settings(box="mask"))
    assert "visible joints lie in the crop (limit 50%)" in outcome.problems[0]


def test_a_box_around_the_mask_needs_no_joint(tmp_path, frames):
    """The same crop whatever the joints say, the hand's pixels in its middle, and all joints of a hand inside."""
    settings = rhd.Settings(box="mask")
    examples = read(tmp_path, frames, settings).examples
    bent = [dataclasses.replace(f, xyz_m={s: 0.8 * x + 0.2 * x.mean(0) for s, x in f.xyz_m.items()}) for f in frames]
    for example, other, frame in zip(examples, read(tmp_path, bent, settings).examples, frames, strict=True):
        np.testing.assert_array_equal(example["K"], other["K"])
        np.testing.assert_array_equal(example["rgb"], other["rgb"])
        assert not np.array_equal(example["xyz"], other["xyz"])
        uv = example["uv"][frame.visible[larger_side(frame)]]
        assert ((uv > -0.5) & (uv < 63.5)).all()
