"""The view of a recording on a local page: colour and depth side by side, and the square around the hand."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from pmd_jax.data.cropping import CropBox, mask_box
from pmd_jax.data.frames import depth_units
from pmd_jax.data.hand_segment import NoHand, hand_masks
from pmd_jax.data.rgbd_form import Description
from pmd_jax.record.camera import Frame
from pmd_jax.record.session import View
from pmd_jax.runtime.listening import address_of, listen
from pmd_jax.viz import templates

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

# The page's own script and style only, and pictures that it has fetched from here.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data: blob:"
)
SHOWN_PX = 480  # the width of each picture, at most


def picture(frame: Frame, description: Description) -> tuple[Image.Image, str]:
    """Colour beside depth in false colour, with the squares that preparation would crop; what they hold, in words."""
    from pmd_jax.viz import skeleton  # loads Matplotlib: when something is drawn

    depth_m = frame.depth * description.depth_unit_m
    boxes, said = _boxes(depth_m, description)
    step = -(-frame.rgb.shape[1] // SHOWN_PX)
    false = skeleton.false_colour(depth_units(depth_m[::step, ::step]))
    both = Image.fromarray(np.concatenate([frame.rgb[::step, ::step], false], axis=1))
    draw, width = ImageDraw.Draw(both), false.shape[1]
    for box in boxes:
        for left in (0, width):
            x0, y0, side = box.x0 / step + left, box.y0 / step, box.side / step
            draw.rectangle((x0, y0, x0 + side, y0 + side), outline="#e69f00", width=2)
    return both, said


def _boxes(depth_m: Float[np.ndarray, "h w"], description: Description) -> tuple[list[CropBox], str]:
    try:
        masks = hand_masks(depth_m, description.K, len(description.sides))
    except NoHand as error:
        return [], str(error)
    return [mask_box(mask) for mask in masks], " and ".join(f"{side} hand" for side in description.sides)


def server(view: View, description: Description) -> Starlette:
    """GET / is the page, GET /view.jpg the latest frame, with the words of it in its headers; POST /stop ends."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import HTMLResponse, Response
    from starlette.routing import Route

    html = templates.render("record.html")

    async def index(request: Request) -> Response:
        return HTMLResponse(html, headers={"Content-Security-Policy": POLICY})

    async def latest(request: Request) -> Response:
        frame = view.frame
        if frame is None:
            return Response(status_code=204)
        shown, said = await run_in_threadpool(picture, frame, description)
        file = io.BytesIO()
        shown.save(file, "JPEG", quality=85)
        headers = {
            "Cache-Control": "no-store",
            "X-Hand": said,
            "X-Frames": str(view.count),
            "X-Seconds": f"{view.seconds:.1f}",
        }
        return Response(file.getvalue(), media_type="image/jpeg", headers=headers)

    async def stop(request: Request) -> Response:
        view.stop.set()
        return Response(status_code=204)

    return Starlette(routes=[Route("/", index), Route("/view.jpg", latest), Route("/stop", stop, methods=["POST"])])


@contextmanager
def shown(view: View, description: Description, host: str, port: int) -> Iterator[str]:
    """Serves the page from a thread of its own; yields its address.

    Raises:
        InputError: nobody can listen there.
    """
    import uvicorn

    with listen(host, port) as listening:
        config = uvicorn.Config(server(view, description), log_level="warning", log_config=None)  # others' logs stay
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, name="page", daemon=True)
        thread.start()
        try:
            yield address_of(host, listening.getsockname()[1])
        finally:
            running.should_exit = True
            thread.join(timeout=5)
