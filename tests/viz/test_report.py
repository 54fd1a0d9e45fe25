"""The report of a made-up run: complete, self-contained, escaped, and patient with what is missing."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pmd_jax.data.hand import BONES, project
from pmd_jax.runtime import digest
from pmd_jax.viz.report import write_report

METHODS = {
    "depth_teacher": ("Depth teacher", 10.0),
    "rgb_baseline": ("RGB baseline", 22.0),
    "pmd_net": ("PMD-Net", 19.0),
}
N = 6


def fake_hands(rng):
    """Open hands about half a metre away, each turned a little: (N, 21, 3) in metres."""
    hand = np.zeros((21, 3))
    for finger, angle in enumerate((-1.0, -0.4, 0.0, 0.35, 0.7)):
        for part, reach in enumerate((0.045, 0.07, 0.09, 0.105) if finger == 0 else (0.085, 0.12, 0.145, 0.165)):
            curl = 0.02 * part**1.5 * (1 + finger) / 5
            hand[1 + 4 * finger + part] = (reach * np.sin(angle), -reach * np.cos(angle), curl)
    hands = []
    for turn in rng.uniform(-0.8, 0.8, N):
        about_y = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
        hands.append(hand @ about_y.T + (0, 0.08, 0.5))
    return np.array(hands)


def fake_pictures(rng, uv):
    """Skin-coloured sticks on noise, and depth that was measured on the sticks only."""
    rgb, depth = [], []
    for points in uv:
        mask = Image.new("L", (64, 64))
        for bone in BONES:
            ImageDraw.Draw(mask).line([tuple(points[j]) for j in bone], fill=255, width=5)
        hand = np.asarray(mask)[..., None] > 0
        rgb.append(np.where(hand, (205, 160, 130), (70, 90, 80)) + rng.integers(-15, 15, (64, 64, 3)))
        depth.append(np.where(hand[..., 0], 5000 + 4 * np.arange(64)[:, None], 0))
    return np.array(rgb, np.uint8), np.array(depth, np.uint16)


def fake_examples(rows=tuple(METHODS)):
    rng = np.random.default_rng(0)
    K = np.tile(np.array([[125.0, 0, 31.5], [0, 125.0, 31.5], [0, 0, 1]], np.float32), (N, 1, 1))
    xyz_m = fake_hands(rng)
    uv = project(xyz_m, K)
    rgb, depth = fake_pictures(rng, uv)
    block = np.stack([rng.integers(0, 50, N), rng.integers(0, 36, N), np.full(N, 14)], 1).astype(np.int32)
    replaced = rgb.copy()
    for picture, (row, column, size) in zip(replaced, block, strict=True):
        picture[row : row + size, column : column + size] = picture[row : row + size, column + size : column + 2 * size]
    return {
        **{"rgb": rgb, "depth": depth, "uv": uv, "xyz_m": xyz_m, "K": K},
        "key": np.array([f"rendered_hands/test/{i:05d}" for i in range(N)]),
        **{f"pose_{row}": xyz_m + rng.normal(0, METHODS[row][1] / 2000, xyz_m.shape) for row in rows},
        **{"occlusion_before": rgb, "occlusion_after": replaced, "occlusion_block": block},
    }


def fake_results():
    thresholds = np.arange(51.0)
    rows = {}
    for name, (title, epe_mm) in METHODS.items():
        pck = 1 - np.exp(-((thresholds / epe_mm) ** 1.6))
        rows[name] = {
            **{"title": title, "epe_mm": epe_mm, "epe_median_mm": 0.8 * epe_mm, "auc_20_50": pck[20:].mean()},
            "epe_per_joint_mm": [epe_mm * (0.5 + 0.25 * ((j - 1) % 4)) if j else epe_mm / 2 for j in range(21)],
            "error_per_axis_mm": [0.4 * epe_mm, 0.4 * epe_mm, 0.7 * epe_mm],
            "pck": {"thresholds_mm": thresholds.tolist(), "pck": pck.tolist()},
            **{"labels": 3000, "without_labels": 13_000 * (name != "depth_teacher")},
            **{"parameters": 21_724_415, "steps": 1500, "train_seconds": 4000.4, "images_per_s": 1234.5},
        }
    return {
        **{"dataset": "rendered_hands/default", "protocol": "GT box, known root and scale, 21 joints, AUC 20-50 mm"},
        "command": "python -m pmd_jax.main --config=launch/demo.py --workdir=runs/demo",
        **{"hardware": {"device": "CPU", "cores": "2"}, "versions": {"python": "3.11", "jax": "0.10.2"}},
        **{"started": "2025-01-01T10:00:00", "finished": "2025-01-01T10:09:00", "seed": 0, "config_hash": "c0ffee"},
        "rows": rows,
    }


def fake_metrics():
    rng = np.random.default_rng(1)
    for row, (_, epe_mm) in METHODS.items():
        for step in range(0, 1500, 5):
            loss = 40 * epe_mm * np.exp(-step / 400) + 8 * epe_mm + rng.normal(0, epe_mm)
            yield {"row": row, "step": step, "loss": loss, "task/pose": loss / 100}
        for step in range(250, 1501, 250):
            yield {"row": row, "step": step, "eval/epe_mm": epe_mm + 30 * np.exp(-step / 300), "eval/auc_20_50": 0.5}


def write_workdir(folder, results=None, config=None, metrics=None, examples=None):
    """A workdir as run.py leaves it; every part can be replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    config = config or {"name": "demo", "seed": 0, "optim": {"lr": 1e-4, "drops": [60000]}, "teacher": {}}
    (folder / "results.json").write_text(json.dumps(results or fake_results()))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics or fake_metrics()))
    np.savez(folder / "examples.npz", **(examples or fake_examples()))
    return folder


class Page(HTMLParser):
    """What a browser would see: text, links to elsewhere, handlers, and the tags in order."""

    def __init__(self, path):
        super().__init__()
        self.text, self.addresses, self.tags, self.source = "", [], [], path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return write_workdir(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(workdir):
    return Page(write_report(workdir))


def test_report_lies_in_the_workdir_and_nothing_else_is_left(workdir):
    path = write_report(workdir)
    assert path == workdir / "report.html"
    assert {file.name for file in workdir.iterdir()} == {
        *("results.json", "config.json", "metrics.jsonl", "examples.npz", "report.html")
    }
    assert path.stat().st_size < 5_000_000


def test_report_holds_every_row_and_the_facts_of_the_run(page):
    for title, epe_mm in METHODS.values():
        assert re.search(rf"{title}\s*{epe_mm:.2f}", page.text)
    figures = ("21,724,415", "1 h 06 min", "1,234", "[60000]")
    for fact in (*figures, "GT box", "launch/demo.py", "0.10.2", "optim.lr", "c0ffee"):
        assert fact in page.text
    assert page.tags.count("figure") == 8  # PCK, axes, joints, loss, EPE, grid, turnable, occlusion


def test_same_run_gives_the_same_bytes(workdir):
    assert write_report(workdir).read_bytes() == write_report(workdir).read_bytes()


def test_report_loads_nothing(page):
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(", page.source)
    assert "default-src 'none'" in page.source


def test_pictures_are_whole_images(page):
    pngs = [address for address in page.addresses if address.startswith("data:image/png")]
    for address in pngs:
        Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).verify()
    assert len(pngs) == 3  # two grids of hands, block replacement


def test_script_gets_the_poses_in_millimetres(page):
    data = json.loads(re.search(r'<script type="application/json" id="poses">(.*?)</script>', page.source, re.S)[1])
    examples = fake_examples()
    assert data["names"] == ["Ground truth", *(title for title, _ in METHODS.values())]
    for i, shown in enumerate(data["examples"]):
        truth, *predicted = np.array(shown["poses"])
        for row, pose in zip(METHODS, predicted, strict=True):
            expected = 1000 * (examples[f"pose_{row}"][i] - examples["xyz_m"][i])
            np.testing.assert_allclose(pose - truth, expected, atol=0.11)


def test_hostile_names_are_text(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>&\"'"
    results = fake_results() | {"dataset": evil, "command": evil, "hardware": {evil: evil}, "versions": {evil: evil}}
    results["rows"]["pmd_net"]["title"] = evil
    examples = fake_examples() | {"key": np.array([evil] * N)}
    page = Page(write_report(write_workdir(tmp_path, results, {evil: {evil: evil}}, None, examples)))
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert "<img src=x" not in page.source
    assert page.source.count("</script>") == 2
    assert page.text.count(evil) >= 7


def test_titles_that_matplotlib_would_read_as_markup(tmp_path):
    results = fake_results()
    results["rows"]["pmd_net"]["title"] = r"_5 $\frac{"
    assert r"_5 $\frac{" in Page(write_report(write_workdir(tmp_path, results))).text


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("config.json", "no readable config.json"),
        ("metrics.jsonl", "no readable metrics.jsonl"),
        ("examples.npz", "no examples.npz"),
    ],
)
def test_a_missing_part_is_left_out_with_a_sentence(tmp_path, name, sentence):
    (write_workdir(tmp_path) / name).unlink()
    assert sentence in Page(write_report(tmp_path)).text


def test_one_stage_alone(tmp_path):
    examples = {name: fake_examples(("depth_teacher",))[name] for name in ("rgb", "depth", "uv", "xyz_m", "K", "key")}
    results = {"rows": {"depth_teacher": {"epe_mm": 12.3, "auc_20_50": float("nan")}}}
    page = Page(write_report(write_workdir(tmp_path, results, examples=examples)))
    assert re.search(r"depth_teacher\s*12\.30\s*–", page.text)
    assert "no PCK curve" in page.text
    assert "no pictures of the occlusion" in page.text
    assert page.tags.count("figure") == 4  # loss, EPE, grid and turnable with the truth alone


def test_another_protocol_stands_beside_its_figures(tmp_path):
    results = fake_results() | {"protocol": "scale palm–middle MCP known, 20 joints, AUC 0–50 mm at 51 thresholds"}
    for values in results["rows"].values():
        values["auc_0_50"] = values.pop("auc_20_50") / 2
    expected = results["rows"]["pmd_net"]["auc_0_50"]
    page = Page(write_report(write_workdir(tmp_path, results)))
    assert "Protocol: scale palm–middle MCP known, 20 joints, AUC 0–50 mm at 51 thresholds." in page.text
    assert "AUC 0–50 mm" in re.search(r"Network.*?Images/s", page.text, re.S)[0]
    assert re.search(rf"PMD-Net\s*19\.00\s*15\.20\s*{expected:.4f}", page.text)
    assert "the area under each curve over 0–50 mm" in page.text
    assert "AUC 20–50" not in page.text


def test_damaged_files_are_left_out_with_a_sentence(tmp_path):
    write_workdir(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"row": "pmd_net", "st')
    (tmp_path / "examples.npz").write_bytes((tmp_path / "examples.npz").read_bytes()[:1000])
    (tmp_path / "config.json").write_text("{")
    text = Page(write_report(tmp_path)).text
    assert "could not be read and were left out: 1" in text
    assert "examples.npz cannot be read" in text
    assert "no readable config.json" in text


def test_examples_that_hold_objects_are_refused(tmp_path):
    write_workdir(tmp_path, examples=fake_examples() | {"key": np.array([{}] * N, object)})
    assert "examples.npz cannot be read" in Page(write_report(tmp_path)).text


def test_a_workdir_without_results_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"results\.json is missing.*nothing to report"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"), [("{", "is not JSON"), ("[]", "no JSON object"), ('{"rows": [1]}', 'no "rows"')]
)
def test_results_of_another_form_are_refused(tmp_path, content, sentence):
    (tmp_path / "results.json").write_text(content)
    (tmp_path / "report.html").write_text("older")
    with pytest.raises(ValueError, match=sentence):
        write_report(tmp_path)
    assert (tmp_path / "report.html").read_text() == "older"


def test_damaged_results_are_not_reported(tmp_path):
    digest.write_json(tmp_path / "results.json", fake_results())
    write_report(tmp_path)
    text = (tmp_path / "results.json").read_text()
    (tmp_path / "results.json").write_text(text.replace('"labels": 3000', '"labels": 3100', 1))
    with pytest.raises(ValueError, match=r"results\.json is not what was saved.*Run the same command again"):
        write_report(tmp_path)
