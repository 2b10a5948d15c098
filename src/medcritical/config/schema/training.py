"""Both trainings: optimizer, losses, machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from medcritical.config.choices import (
    Accelerator,
    Batching,
    ClusterKind,
    CorrectionForm,
    Length,
    Loss,
    PairWeight,
    Precision,
    Schedule,
    StrategyKind,
)
from medcritical.config.fields import key


@dataclass
class OptimConfig:
    """One optimisation: AdamW with warm-up. Exactly one of `epochs` and `steps` is given."""

    learning_rate: float = key("peak rate", gt=0, le=1)
    schedule: Schedule = key("after warm-up")
    warmup_steps: int = key("optimizer steps of linear warm-up", ge=0)
    warmup_share: float = key("or the warm-up as a share of all steps; 0: warmup_steps says", ge=0, lt=1)
    final_rate: float = key("rate at the end as a share of the peak", ge=0, le=1)
    weight_decay: float = key("AdamW weight decay", ge=0, lt=1)
    batch_size: int = key("examples per optimizer step", ge=1)
    epochs: Optional[float] = key("passes over the examples", gt=0)
    steps: Optional[int] = key("optimizer steps", ge=1)
    max_grad_norm: float = key("gradient clipping, 2-norm", gt=0)
    max_length: int = key("longest sequence trained on, tokens; longer ones are dropped and counted", ge=16)
    adam_beta1: float = key("AdamW: decay of the mean of gradients", ge=0, lt=1)
    adam_beta2: float = key("AdamW: decay of the mean of their squares", ge=0, lt=1)
    adam_epsilon: float = key("AdamW: added to the root of that mean, against division by zero", gt=0, lt=1)


@dataclass
class SftCorrectionConfig:
    """Second pass of stage 1: the teacher corrects the student's own errors on further training questions."""

    questions: int = key("training questions the student tries", ge=1)
    attempts: int = key("samples per question", ge=1)
    max_wrong: int = key("distinct wrong attempts corrected per question", ge=1)
    epochs: float = key("passes over templates and corrections", gt=0)
    learning_rate: float = key("peak rate", gt=0, le=1)


@dataclass
class SftConfig(OptimConfig):
    """Stage 1: fine-tuning on thought templates and the correction format."""

    templates: Optional[int] = key("training questions given to the teacher; null: all", ge=1)
    synthetic_corrections: float = key("teacher-made wrong attempts with their correction, per template", ge=0, le=1)
    correction_form: CorrectionForm = key("corrections are taught whole, from the faulty step on, or both")
    correction: Optional[SftCorrectionConfig] = key("second pass; null: none")


@dataclass
class LossConfig:
    """The preference loss of a pair."""

    loss: Loss = key("member of the family")
    length: Length = key("log-probabilities summed over tokens, or their mean; betas of the two are not comparable")
    label_smoothing: float = key("conservative, robust: probability that a preference label is wrong", ge=0, lt=0.5)
    positive_weight: Optional[float] = key("dpo_positive: weight of its penalty; else null", ge=0)


@dataclass
class DpoConfig(OptimConfig, LossConfig):
    """The preference loss and its optimisation."""

    nll_weight: float = key("weight of the per-token NLL on chosen, beside the preference loss", ge=0)
    pair_weight: PairWeight = key("what a pair weighs in the loss and in what it is divided by")


@dataclass
class TrainerConfig:
    """The machine's side of training; no key here changes what is computed but `precision`."""

    accelerator: Accelerator = key("where the model is", semantic=False)
    precision: Precision = key("numbers of the forward pass; auto: by device and size", neutral=Precision.auto)
    threads: Optional[int] = key("CPU threads of one worker; null: torch's choice", ge=1, semantic=False)
    batching: Batching = key(
        "layout of a forward pass: packed does the least work; padded runs any architecture", semantic=False
    )
    micro_batch_tokens: int = key(
        "packed: tokens per forward pass, shared prompts counted once; the batch is accumulated from these. A single pair "
        "may be longer",
        ge=1,
        semantic=False,
    )
    micro_batch_size: int = key(
        "padded: examples per forward pass; the batch is accumulated from these", ge=1, semantic=False
    )
    gradient_checkpointing: bool = key(
        "compute activations again in the backward pass: less memory, a third slower", semantic=False
    )
    log_every_n_steps: int = key("optimizer steps between logged metrics", ge=1, semantic=False)
    checkpoint_every_steps: Optional[int] = key(
        "optimizer steps between checkpoints to go on from; null: only when told to stop", ge=1, semantic=False
    )
    time_limit: Optional[float] = key(
        "seconds after the command's start by which a training has saved its state and stopped; null: none",
        gt=0,
        semantic=False,
    )
    records_per_file: int = key(
        "records of an artefact from which on they are cut into compressed files of so many", ge=1, semantic=False
    )


@dataclass
class StrategyConfig:
    """How training is spread over devices."""

    kind: StrategyKind = key("auto, ddp, zero1, zero2, zero3, zero2_offload or zero3_offload")


@dataclass
class ClusterConfig:
    """Where stages run."""

    kind: ClusterKind = key("local, torchrun or slurm")
    isolate: bool = key("a process of its own for every stage")
    workers: Optional[int] = key(
        "stages made at a time; null: as many as cores allow with trainer.threads", ge=1, le=64
    )
    nproc_per_node: int = key("ranks on each machine; with GPUs one per GPU", ge=1)
    nnodes: int = key("machines", ge=1)
    node_rank: int = key("torchrun: which of the machines this one is, from 0", ge=0)
    rdzv_endpoint: str = key("torchrun: HOST:PORT of machine 0, where ranks of several machines meet; empty for one")
    spread_generation: bool = key(
        "play, answers, and a judge or teacher that is not a running server, on all ranks like trainings; false: in one process"
    )
    max_restarts: int = key("times that a stage starts again, from what it has kept, after a rank died", ge=0)
    timeout_seconds: float = key("longest that a rank waits for the others before it gives up", gt=0)
    stop_seconds: float = key(
        "seconds that a stop gives a training to end its step and save before it is killed; longer than both together",
        gt=0,
    )

    @property
    def world_size(self) -> int:
        """Ranks of all machines together."""
        return self.nproc_per_node * self.nnodes
