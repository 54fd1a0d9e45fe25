"""The page as a visitor sees it: the command in a process of its own, headless Chromium before it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from pmd_jax.data import hand

pytestmark = pytest.mark.browser
PHONE, DESKTOP = 390, 1200


@pytest.fixture(scope="module")
def address(tiny_export):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pmd_jax.app", f"--port={port}", f"--checkpoint={tiny_export}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert f"http://127.0.0.1:{port}" in server.stdout.readline()
        yield f"http://127.0.0.1:{port}"
        server.terminate()


@pytest.fixture
def visit(browser, address):
    """Opens the page at a width of so many pixels, as a phone's or a desktop's browser does."""

    def _visit(width: int = DESKTOP, path: str = ""):
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get(address + path)
        return browser

    return _visit


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "hand.png"
    Image.new("RGB", (320, 240), (200, 150, 120)).save(path)
    return path


def give(page, path: Path) -> None:
    page.find_element(By.ID, "file").send_keys(str(path))


def wait(page, condition) -> None:
    WebDriverWait(page, 30).until(lambda _: condition())


def shown(page) -> bool:
    return page.find_element(By.ID, "result").is_displayed()


def colours_in(page, canvas: str) -> int:
    """Different pixel values: a flat picture has one, a skeleton on it many."""
    script = """const canvas = document.getElementById(arguments[0]);
        const values = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(new Uint32Array(values.buffer)).size;"""
    return page.execute_script(script, canvas)


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_a_picture_shows_skeleton_and_numbers_within_the_width(visit, picture, width):
    page = visit(width)
    assert not shown(page)
    give(page, picture)
    wait(page, lambda: shown(page))
    assert colours_in(page, "crop") > len(hand.FINGERS)
    assert colours_in(page, "view") > len(hand.FINGERS)
    rows = page.find_elements(By.CSS_SELECTOR, "#numbers tr")
    assert [row.find_element(By.TAG_NAME, "th").text for row in rows] == list(hand.JOINT_NAMES)
    assert all(np.isfinite(float(cell.text)) for cell in rows[0].find_elements(By.TAG_NAME, "td"))
    assert " ms" in page.find_element(By.ID, "time").text
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert page.execute_script("return window.innerWidth") == width
    if folder := os.environ.get("PMD_JAX_SCREENSHOTS"):
        page.save_screenshot(f"{folder}/page_{width}.png")


@pytest.mark.parametrize("path", ["/proxy/8000", "/proxy/8000/"])
def test_behind_a_proxys_prefix(visit, picture, path):
    page = visit(path=path)
    give(page, picture)
    wait(page, lambda: shown(page))


def test_a_broken_file_gives_a_sentence(visit, picture, tmp_path):
    page = visit()
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture.read_bytes()[:60])
    give(page, broken)
    wait(page, lambda: "not a whole picture" in page.find_element(By.ID, "error").text)
    assert not shown(page)
    give(page, picture)  # and the next one works
    wait(page, lambda: shown(page))
    assert page.find_element(By.ID, "error").text == ""


def test_a_hand_scale_gives_millimetres_and_the_json_is_copied(visit, picture):
    page = visit()
    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]  # a headless browser has a clipboard of its own
    page.execute_cdp_cmd("Browser.grantPermissions", {"permissions": permissions, "origin": page.current_url})
    give(page, picture)
    wait(page, lambda: shown(page))
    page.execute_script("scale.value = 90; scale.onchange()")
    wait(page, lambda: "x, mm" in page.find_element(By.ID, "head").text)
    page.find_element(By.ID, "copy").click()
    wait(page, lambda: page.find_element(By.ID, "said").text == "Copied.")
    copied = json.loads(page.execute_async_script("navigator.clipboard.readText().then(arguments[0])"))
    assert np.shape(copied["xyz_m"]) == (21, 3)
    assert copied["box"] == [40, 0, 240]


def swipe(page, start: tuple[float, float], step: tuple[float, float], steps: int = 10) -> None:
    """A finger on the screen of a phone, in CSS pixels."""

    def touch(kind: str, *points: dict[str, float]) -> None:
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", {"x": start[0], "y": start[1]})
    for i in range(1, steps + 1):
        touch("touchMove", {"x": start[0] + i * step[0], "y": start[1] + i * step[1]})
    touch("touchEnd")


def test_on_a_phone_a_finger_sets_the_square_sideways_and_scrolls_up_and_down(visit, picture):
    page = visit(PHONE)
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    give(page, picture)
    wait(page, lambda: shown(page))
    frame = page.execute_script("return whole.getBoundingClientRect().toJSON()")
    middle = (frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
    swipe(page, middle, (frame["width"] / 40, 0))
    wait(page, lambda: page.execute_script("return answer.hand.box") == pytest.approx([80, 40, 160], abs=2))
    assert page.execute_script("return window.scrollY") == 0
    square = page.execute_script("return box")
    swipe(page, middle, (0, -20))
    wait(page, lambda: page.execute_script("return window.scrollY") > 100)
    assert page.execute_script("return [box, answer.hand.box]") == [square, square]


def test_the_camera_shows_a_hand_and_stops(visit):
    page = visit()
    button = page.find_element(By.ID, "camera")
    button.click()
    wait(page, lambda: shown(page))
    assert button.text == "Stop the camera"
    button.click()
    assert button.text == "Use the camera"
