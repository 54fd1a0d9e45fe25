"""Your own recordings, without labels, and rendered hands with labels: the network learns the colours of your camera.

    python -m pmd_jax.main --config=launch/adapt.py:DATASET/CONFIGURATION

DATASET is a builder of datasets/ and CONFIGURATION one with crops that need no joints; rgbd_folder/mask_box if nothing
stands after the colon. The depth teacher is checkpoints/depth_teacher, or is trained first on the rendered hands where
that is not there; another one: --config.teacher.checkpoint=FOLDER. The student begins as checkpoints/demo; with drawn
weights: --config.start_from= (nothing behind it). docs/adapting.md says what the report shows.
"""

from pmd_jax.config import Config, UnlabelledConfig
from pmd_jax.config.presets import label_free_inputs, paper
from pmd_jax.runtime.packaged import packaged

TEACHER = "checkpoints/depth_teacher"


def get_config(recordings: str = "rgbd_folder/mask_box") -> Config:
    config = label_free_inputs(paper("rendered", "pmd_net_unlabelled", name="adapt"))
    dataset, _, dataset_config = recordings.partition("/")
    config.data.unlabelled = UnlabelledConfig(dataset, dataset_config or UnlabelledConfig().dataset_config)
    config.data.dataset_config, config.data.train_samples, config.data.validation = "demo_mask_box", 0, 0
    config.data.unlabelled_share = 0.5
    config.start_from = "checkpoints/demo"
    config.teacher.checkpoint = TEACHER if packaged(TEACHER).is_dir() else ""
    config.teacher.optim.steps, config.optim.steps = 3000, 6000
    config.loss.lambda_feature = 0.0  # a teacher may be wider than its student
    config.augment.box_shift, config.augment.box_scale, config.augment.light = 0.1, 1.25, 0.2  # as checkpoints/demo
    return config
