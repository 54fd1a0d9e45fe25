"""From where everyday pictures see a hand: a selfie, a camera over a desk, one on the head, fingers at the lens.

A view is three angles, applied to a hand with its palm to the camera and its fingers up: yaw about the fingers' axis
(180° shows the back), pitch about the picture's x axis (positive tips the fingers away), roll in the picture.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from .draws import Draws
from .kinematics import rotation

# Weight, chance of the palm, then yaw's deviation, pitch's mean and deviation, roll's deviation (None: full circle).
_CAMERAS = (
    (0.36, 0.55, 38.0, 0.0, 24.0, 32.0),  # selfie, webcam: fingers up, palm or back
    (0.10, 0.50, 60.0, 10.0, 30.0, None),  # any camera beside, any way up
    (0.20, 0.20, 45.0, 12.0, 25.0, None),  # over a desk: mostly the back, arms come from all sides
    (0.24, 0.15, 52.0, 42.0, 20.0, 38.0),  # on the head or before the eyes: fingers point away, thumb side often seen
    (0.10, 0.50, 70.0, -55.0, 18.0, 50.0),  # fingertips towards the camera
)
_WEIGHT = np.array([camera[0] for camera in _CAMERAS])
_LAST = np.cumsum(_WEIGHT / _WEIGHT.sum())[:-1]
_PALM, _YAW, _PITCH, _PITCH_DEVIATION = np.array([camera[1:5] for camera in _CAMERAS]).T
_ROLL = np.array([camera[5] or 0.0 for camera in _CAMERAS])


def everyday_rotations(draws: Draws, k: int) -> Float[np.ndarray, "b k 3 3"]:
    """`k` rotations a sample, hand frame to camera frame."""
    camera = np.searchsorted(_LAST, draws.uniform(k), side="right")
    back = draws.uniform(k) >= _PALM[camera]
    yaw = 180.0 * back + _YAW[camera] * draws.normal(k)
    pitch = _PITCH[camera] + _PITCH_DEVIATION[camera] * draws.normal(k)
    circle, narrow = draws.uniform(k, low=-180, high=180), _ROLL[camera] * draws.normal(k)
    roll = np.where(_ROLL[camera] == 0, circle, narrow)
    x_axis, y_axis, z_axis = np.eye(3)
    turns = [
        rotation(z_axis, np.radians(roll)),
        rotation(x_axis, np.radians(-pitch)),
        rotation(y_axis, np.radians(yaw)),
    ]
    return turns[0] @ turns[1] @ turns[2] @ np.diag([1.0, -1.0, -1.0])
