"""From pictures to hands: `python -m pmd_jax.predict`, and the functions behind it.

* `predictor`: crops to joints, whole pictures to hands; what `pmd_jax.load` returns. `hand_pose`: one hand.
* `engines`: what runs a network, ONNX Runtime or JAX.
* `detector`: where the hands in a picture are (the extra `detect`).
* `images`, `image_metadata`, `video`, `video_bytes`, `boxes`: what comes in.
* `pipeline`, `tracking`: hands in many pictures, and from one picture of a video to the next.
* `writers`, `overlays`: what goes out. `cli`: the command. `latency`: the time of one crop.
"""
