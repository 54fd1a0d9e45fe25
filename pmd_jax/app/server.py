"""A page on this machine, a picture or the camera in, a hand out: `python -m pmd_jax.app`.

The page comes from one file and loads nothing from anywhere. The server keeps no picture and writes nothing.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pmd_jax.config.backbones import CROP_SHAPE
from pmd_jax.data import hand
from pmd_jax.predict.detector import is_installed
from pmd_jax.predict.images import read_picture
from pmd_jax.runtime import cli
from pmd_jax.runtime.errors import InputError
from pmd_jax.runtime.files import given_path
from pmd_jax.runtime.listening import address_of, listen
from pmd_jax.viz import templates

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

    from pmd_jax.predict.predictor import Predictor

MAX_BYTES = 20_000_000  # of a picture's file
NEEDS = ("starlette", "uvicorn")
# The page's own script and style only, and pictures that it makes itself.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:"


def predict_upload(network: Predictor, file: bytes, wishes: Mapping[str, str]) -> dict[str, Any]:
    """The hand in a picture's file, as JSON types.

    Args:
        file: a JPEG, PNG or another of `images.FORMATS`.
        wishes: text by name, each optional: `box` ("x0,y0,side", pixels), `hand_scale_m`, `side`.

    Returns:
        "hand": see `HandPose.as_dict`; "box_from": "given", "detected" (the surest hand, with the extra `detect`) or
        "central"; "size_px": the upright picture's width and height; "seconds": from file to hand.

    Raises:
        InputError: no picture, or a wish that makes no sense; the sentence is for the reader of the page.
    """
    start = time.perf_counter()
    try:
        box = tuple(map(float, wishes["box"].split(","))) if wishes.get("box") else None
        scale_m = float(wishes["hand_scale_m"]) if wishes.get("hand_scale_m") else None
    except ValueError:
        raise InputError("box and hand_scale_m: give numbers, x0,y0,side in pixels and a length in metres.") from None
    picture = read_picture(io.BytesIO(file), name="The file")
    box_from = "central" if box is None else "given"
    if box is None and is_installed() and (detected := network.detect(picture)):
        box, box_from = detected[0].box, "detected"
    found = network.from_image(picture, box, hand_scale_m=scale_m, side=wishes.get("side") or None)  # pyright: ignore[reportArgumentType]
    seconds = round(time.perf_counter() - start, 5)
    return {
        "hand": found.as_dict(),
        "box_from": box_from,
        "size_px": [picture.shape[1], picture.shape[0]],
        "seconds": seconds,
    }


def page() -> str:
    """The page's HTML."""
    from pmd_jax.viz import skeleton

    facts = {"names": hand.JOINT_NAMES, "bones": hand.BONES, "colours": skeleton.JOINT_COLOURS, "maxBytes": MAX_BYTES}
    return templates.render("app.html", facts=facts, megabytes=MAX_BYTES // 1_000_000)


def server(network: Predictor) -> Starlette:
    """GET / is the page; POST /hand takes a picture's bytes, with `predict_upload`'s wishes in the query.

    Either below any prefix, too: not every proxy takes off what it puts before the path.
    """
    import anyio
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

    html, one_at_a_time = page(), anyio.Lock()

    async def index(request: Request) -> Response:
        return HTMLResponse(html, headers={"Content-Security-Policy": POLICY})

    async def found(request: Request) -> Response:
        try:
            file = await read_body(request)
            async with one_at_a_time:
                return JSONResponse(await run_in_threadpool(predict_upload, network, file, request.query_params))
        except InputError as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    posts = [Route(path, found, methods=["POST"]) for path in ("/hand", "/{prefix:path}/hand")]
    return Starlette(routes=[*posts, Route("/{prefix:path}", index)])


async def read_body(request: Request) -> bytes:
    """What was sent, given up as soon as it is larger than `MAX_BYTES`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise InputError(f"The file is larger than {MAX_BYTES // 1_000_000} MB; make it smaller.")
    return bytes(body)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m pmd_jax.app", description="A page that shows hands in pictures.")
    parser.add_argument("--checkpoint", type=given_path, metavar="FOLDER", help="an export's folder (checkpoints/demo)")
    parser.add_argument("--host", default="127.0.0.1", help="who may connect: this machine only (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="(%(default)s)")
    options = parser.parse_args(arguments)
    return cli.exit_code(lambda: _serve(options.checkpoint, options.host, options.port))


def _serve(checkpoint: Path | None, host: str, port: int) -> None:
    cli.require("app", NEEDS)
    cli.set_up_jax()
    import uvicorn

    from pmd_jax.predict import predictor

    network = predictor.load(checkpoint)
    network(np.zeros((1, *CROP_SHAPE), np.uint8))  # compiles, so that the first picture does not wait
    listening = listen(host, port)
    with listening:
        print(f"Open {address_of(host, port)} in a browser; Ctrl-C ends.", flush=True)
        uvicorn.Server(uvicorn.Config(server(network), log_level="warning")).run(sockets=[listening])
