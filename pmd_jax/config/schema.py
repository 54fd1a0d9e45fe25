"""The typed configuration tree: every field with its unit and meaning, and what combinations are refused.

A config file under `launch/` returns a `Config`; any field can be set on the command line
(`--config.optim.learning_rate=2e-4`). Defaults are the paper's, read as docs/paper.md says.
"""

# No `from __future__ import annotations` here: the command line needs the fields' types, not their names.
from dataclasses import dataclass, field


@dataclass
class UnlabelledConfig:
    """Of it the students with `unlabelled` in their name see RGB and depth alone, whether it has labels or not."""

    dataset: str = ""  # its builder, in data_dir and manual_dir as the other one; "" = there is no second data set
    dataset_config: str = "mask_box"  # one of that builder's configurations, with crops that need no joints
    split: str = "train"  # what is learnt from; figures are made of its "test" split, where that has labels


@dataclass
class DataConfig:
    """Which samples are read, which are held out, and which keep their labels."""

    dataset: str = "rendered_hands"  # the builder to read: a folder of datasets/
    dataset_config: str = "default"  # one of that builder's configurations
    data_dir: str = "data/prepared"  # where prepared splits live, in TFDS layout
    manual_dir: str = "data/raw"  # raw archives, <manual_dir>/<dataset>/
    allow_partial: bool = False  # accept an archive with fewer frames than the published one
    allow_bad: int = 0  # leave out up to this many frames of an archive that cannot be used
    train_samples: int = 0  # use this many training samples only; 0 = all
    validation: int = 0  # samples cut from the training split for choices and curves; 0 = none
    labelled: float = 0.0  # training samples that keep their labels: a number, a share below 1, or 0 = all
    unlabelled_share: float = 0.0  # of each batch, for methods that use unlabelled samples; 0 = as they come
    # Where the depth input counts from: the true "root", or what the "map" itself shows; "front" is a rule that
    # surfaces behind the hand move less, found anew in every augmented map.
    depth_origin: str = "root"
    eval_split: str = "test"  # what the final table reads: "test" or "validation"
    unlabelled: UnlabelledConfig = field(default_factory=UnlabelledConfig)  # a second data set, without labels


@dataclass
class AugmentConfig:
    """Random changes of the training samples.

    Block replacement, jitter and `colour` change the student's RGB alone, `depth_background` and `depth_sensor` the
    depth alone. The others change RGB and depth together, and the labels with them, for teacher and student alike.
    """

    flip_horizontal: bool = False  # mirror each crop left–right with probability ½ (paper: RHD both flips, STB none)
    flip_vertical: bool = False  # the same, top–bottom
    block_size: int = 5  # K of the random block replacement, pixels (paper: RHD 5, STB 14)
    block_probability: float = 0.5  # of a block replacement, for each crop
    box_shift: float = 0.0  # box jitter of the student's crop: shift, up to this share of its side (not the paper's)
    box_scale: float = 1.0  # box jitter: scale, up to this factor, larger or smaller
    light: float = 0.0  # colour jitter: each channel scaled by up to exp(± this) and shifted by up to half of it
    rotation_deg: float = 0.0  # rotate each crop about its middle by up to ± this angle; K and labels with it
    scale: float = 1.0  # make what a crop shows up to this factor larger or smaller; K with it
    shift: float = 0.0  # move what a crop shows by up to this share of its side, right or left and up or down
    background: float = 0.0  # probability that a hand is put before another sample's background, in RGB and depth
    colour: float = 0.0  # strength of changes of brightness, contrast, white balance, gamma, grey, blur and noise
    depth_background: float = 0.0  # probability of a wall, table, body or nothing behind the hand, in depth alone
    depth_sensor: float = 0.0  # how bad a depth camera may be: holes, shadow, steps, flying pixels, noise; depth alone

    def beyond_flips(self) -> dict[str, float]:
        """The fields that are on and change the depth maps by more than flips, with their values."""
        default, names = AugmentConfig(), [name for name in SEEN_BY_TEACHERS if not name.startswith("flip_")]
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(default, name)}


# What changes the depth maps too: a depth teacher reads these fields and no others.
SEEN_BY_TEACHERS = (
    "flip_horizontal",
    "flip_vertical",
    "rotation_deg",
    "scale",
    "shift",
    "background",
    "depth_background",
    "depth_sensor",
)


@dataclass
class ModelConfig:
    """The size of the network, and which of its layers are imitated."""

    width: int = 64  # channels of the first stage; the feature has 8 · width values
    blocks: tuple[int, ...] = (3, 4, 6, 3)  # basic blocks a stage; ResNet-34
    reading: str = "64/32/16/8"  # the backbone, by its feature-map sizes: two ResNet-34s give 8×8×512 (docs/paper.md)
    # Axes of the poses: the "camera"'s (the paper), or those of the "ray" through the crop's middle (beyond the paper).
    target_frame: str = "camera"
    hidden_before_relu: bool = False  # imitate the hidden layers (f₋₂ of Eq. 3) before their ReLU, not after it


TARGET_FRAMES = ("camera", "ray")


@dataclass
class LossConfig:
    """The weights of the losses."""

    alpha: float = 100.0  # Eq. 5, weight of the regression loss
    beta: float = 0.5  # Eq. 6, weight of the first pose where there is a refine branch
    gamma: float = 100.0  # weight of an unlabelled sample's distance to the teacher's pose (beyond the paper)
    lambda_feature: float = 1 / 16  # Eq. 3, λ1: imitation of the feature
    lambda_hidden: tuple[float, ...] = (5 / 16, 5 / 16, 5 / 16)  # Eq. 3, λ2–λ4 (X, Y, Z); a joint head takes their sum
    # Of two poses, for the teacher too: "l2" (Eq. 1), or "l1", the sum of the joints' errors (beyond the paper).
    distance: str = "l2"
    lambda_maps: float = 0.0  # weight of the teacher's maps as a goal, where the heads read by maps (beyond the paper)
    lambda_pose: float = 0.0  # weight of the teacher's pose as a goal, beside the labels (beyond the paper)


@dataclass
class OptimConfig:
    """Adam and its schedule."""

    steps: int = 90_000  # updates
    batch: int = 64  # global, over all devices
    learning_rate: float = 1e-4  # after the warm-up and before any decay (paper: RHD 1e-4, STB 7e-5)
    schedule: str = "step"  # "step": × decay_factor at each of decay_steps; "cosine": to zero after the last step
    decay_steps: tuple[int, ...] = (60_000,)  # read by the schedule "step" alone
    decay_factor: float = 0.1  # of the rate, at each of decay_steps
    warmup_steps: int = 0  # linear from zero to learning_rate
    weight_decay: float = 5e-4  # of all parameters; how it acts: `decoupled`
    decoupled: bool = False  # False: L2 added to the gradient (PyTorch's Adam); True: AdamW
    ema: float = 0.0  # decay of the moving average of the weights that is evaluated and exported; 0 = none (the paper)


@dataclass
class TeacherConfig:
    """The frozen depth network of stage II: a finished one, or how one is trained first."""

    checkpoint: str = ""  # a finished depth teacher (its run folder or export); "" = train one in this run
    optim: OptimConfig = field(default_factory=OptimConfig)  # stage I
    start: str = "same"  # initial weights: the "same" as its student's in all layers but the first, or drawn "apart"
    # Teacher-output cache, outputs computed once for each sample and flip: "on", "off", or "auto" = where that takes
    # the teacher fewer forward passes.
    cache: str = "auto"
    cache_device_mb: int = 2048  # MB; up to this each device has a copy of the cache, else it is read from its file


@dataclass
class EvaluationConfig:
    """The evaluation protocol: what a reported value means. Its name stands beside every value."""

    joint_0: str = "as_labelled"  # or STB's palm moved to a wrist, in training too, by one of two rules
    count_root: bool = True  # all 21 joints count (the root's error is that of the network's own root), or 20
    auc_from_mm: float = 20.0  # where the range of the AUC begins
    auc_to_mm: float = 50.0  # where it ends
    auc_points: int = 31  # equally spaced thresholds, ends included; 31 is one a millimetre


@dataclass
class Config:
    """A run: what is trained, on what, how, and how often it is looked at."""

    name: str = "default"  # the run's folder under runs/ unless --workdir says otherwise
    rows: tuple[str, ...] = ("depth_teacher", "rgb_baseline", "pmd_net")  # what to train, in order: names of `METHODS`
    seed: int = 0  # of all random draws: weights, order of the samples, augmentation, which labels are kept
    start_from: str = ""  # a finished RGB network whose weights the students begin with (export or run folder)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)  # stage II
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    # Of the convolutions: "float32", "bfloat16", or "auto" = bfloat16 on accelerators, float32 on the CPU. Products of
    # float32 are float32 everywhere, not TF32 or bfloat16, unless JAX_DEFAULT_MATMUL_PRECISION chooses otherwise.
    compute_dtype: str = "auto"
    eval_batch: int = 256  # samples in a batch of evaluation, global
    eval_every: int = 0  # steps between evaluations on the validation samples; 0 = never
    checkpoint_every: int = 1000  # steps between checkpoints
    log_every: int = 50  # steps between lines of metrics.jsonl
    tensorboard: bool = True  # write event files too
