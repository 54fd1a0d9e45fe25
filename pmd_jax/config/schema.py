"""The typed configuration tree: every field with its unit and meaning, and what combinations are refused.

A config file under `launch/` returns a `Config`; any field can be set on the command line
(`--config.optim.learning_rate=2e-4`). Defaults are the paper's, read as docs/paper.md says.
"""

# No `from __future__ import annotations` here: the command line needs the fields' types, not their names.
from dataclasses import dataclass, field


@dataclass
class DataConfig:
    dataset: str = "rendered_hands"  # a folder of datasets/
    dataset_config: str = "default"  # one of that builder's configurations
    data_dir: str = "data/prepared"  # where prepared splits live, in TFDS layout
    manual_dir: str = "data/raw"  # raw archives, <manual_dir>/<dataset>/
    allow_partial: bool = False  # accept an archive with fewer frames than the published one
    allow_bad: int = 0  # leave out up to this many frames of an archive that cannot be used
    train_samples: int = 0  # use this many training samples only; 0 = all
    validation: int = 0  # samples cut from the training split for choices and curves; 0 = none
    labelled: float = 0.0  # training samples that keep their labels: a number, a share below 1, or 0 = all
    unlabelled_share: float = 0.0  # of each batch, for rows that use samples without labels; 0 = as they come
    depth_origin: str = "root"  # where the depth input counts from: the true "root", or what the "map" itself shows
    eval_split: str = "test"  # what the final table reads: "test" or "validation"


@dataclass
class AugmentConfig:
    flip_horizontal: bool = False  # each crop mirrored with probability ½ (paper: both on RHD, none on STB)
    flip_vertical: bool = False
    block_size: int = 5  # K of the random block replacement, pixels (paper: RHD 5, STB 14)
    block_probability: float = 0.5
    box_shift: float = 0.0  # the student's crop moves by up to this share of its side each way (not in the paper)
    box_scale: float = 1.0  # … and shows up to this many times as much, or as little
    light: float = 0.0  # its colours are scaled by up to exp(± this) each and shifted by up to half of it


@dataclass
class ModelConfig:
    width: int = 64  # channels of the first stage; the feature has 8 · width values
    blocks: tuple[int, ...] = (3, 4, 6, 3)  # basic blocks a stage; ResNet-34
    reading: str = "64/32/16/8"  # feature-map sizes: which ResNet-34 gives 8×8×512 from 64×64
    hidden_before_relu: bool = False  # f₋₂ of Eq. 3 before its ReLU instead of after it


@dataclass
class LossConfig:
    alpha: float = 100.0  # Eq. 5, weight of the regression loss
    beta: float = 0.5  # Eq. 6, weight of the first pose where there is a refine branch
    gamma: float = 100.0  # as α, where the teacher's pose stands in for a label that is not there (beyond the paper)
    lambda_feature: float = 1 / 16  # Eq. 3, λ1
    lambda_hidden: tuple[float, ...] = (5 / 16, 5 / 16, 5 / 16)  # Eq. 3, λ2–λ4 (X, Y, Z); a joint head takes their sum


@dataclass
class OptimConfig:
    steps: int = 90_000
    batch: int = 64  # global, over all devices
    learning_rate: float = 1e-4
    schedule: str = "step"  # "step": × decay_factor at each of decay_steps; "cosine": to zero after the last step
    decay_steps: tuple[int, ...] = (60_000,)
    decay_factor: float = 0.1
    warmup_steps: int = 0  # linear from zero
    weight_decay: float = 5e-4
    decoupled: bool = False  # False: L2 added to the gradient (PyTorch's Adam); True: AdamW


@dataclass
class TeacherConfig:
    checkpoint: str = ""  # a finished depth teacher (its run folder or export); "" = train one in this run
    optim: OptimConfig = field(default_factory=OptimConfig)  # stage I
    start: str = "same"  # its initial weights: the "same" numbers as its student's, or drawn "apart"
    # What it says of each sample and flip is computed once: "on", "off", or "auto": where that takes it fewer passes.
    cache: str = "auto"
    cache_device_mb: int = 2048  # up to this size a copy lies on each device; a larger table is read from its file


@dataclass
class EvaluationConfig:
    """The protocol: what a reported figure means. `metrics.protocol_name` says it in words beside every figure."""

    joint_0: str = "as_labelled"  # or STB's palm made a wrist, in training too: "wrist_from_ring", "wrist_from_middle"
    count_root: bool = True  # all 21 joints count (the root's error is that of the network's own root), or 20
    auc_from_mm: float = 20.0
    auc_to_mm: float = 50.0
    auc_points: int = 31  # equally spaced thresholds, ends included; 31 is one a millimetre


@dataclass
class Config:
    name: str = "default"  # the run's folder under runs/ unless --workdir says otherwise
    rows: tuple[str, ...] = ("depth_teacher", "rgb_baseline", "pmd_net")  # what to train, in order (rows.py)
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)  # stage II
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    # Of the convolutions: "float32", "bfloat16", or "auto": bfloat16 on accelerators, float32 on the CPU. Products of
    # float32 are float32 everywhere, not TF32 or bfloat16, unless JAX_DEFAULT_MATMUL_PRECISION chooses otherwise.
    compute_dtype: str = "auto"
    eval_batch: int = 256
    eval_every: int = 0  # steps between evaluations on the validation samples; 0 = never
    checkpoint_every: int = 1000  # steps
    log_every: int = 50  # steps between lines of metrics.jsonl
    tensorboard: bool = True
