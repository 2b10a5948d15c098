"""Self-play: iterations, arms, what they share, sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from medcritical.config.choices import (
    Allocation,
    Chosen,
    Corrector,
    Fallback,
    Match,
    Method,
    Objective,
    Reference,
    Replay,
    Retry,
    RightBy,
    Start,
)
from medcritical.config.fields import key


@dataclass
class FilterConfig:
    """Pairs that are not trained on. What each filter takes out is counted in the pair-quality report."""

    max_overlap: Optional[float] = key("most words in common, as a share; null: any", ge=0, le=1)
    max_length_ratio: Optional[float] = key(
        "most words of the longer response per word of the shorter; null: any", ge=1
    )
    duplicates: bool = key("keep a pair that says the same as an earlier one")


@dataclass
class GateConfig:
    """Held-out accuracy decides how the loop goes on from a trained policy.

    Better than the best so far: promoted. Hardly worse: kept, but not the best. Clearly worse: rolled back to the best.
    Too long without a promotion: the loop stops with the best, and nothing of later iterations runs.
    """

    questions: Optional[int] = key("dev questions asked; null: all", ge=1)
    min_gain: float = key("accuracy above the best from which a policy is promoted", ge=0, lt=1)
    max_drop: float = key("accuracy below the best that is still kept", ge=0, lt=1)
    patience: int = key("iterations without promotion after which the loop stops", ge=1)


@dataclass
class SelfPlayConfig:
    """Stage 2: what one iteration does before it trains, and how iterations follow each other."""

    iterations: int = key("T, number of rounds", ge=1, le=100)
    beta: float = key("DPO inverse temperature, 1 / nats; IPO's tau", gt=0)
    betas: list[float] = key("beta of iteration 1, 2, ..., the last one for all after; empty: beta")
    learning_rates: list[float] = key("likewise for the peak rate; empty: dpo.learning_rate")
    questions: Optional[int] = key("training questions per iteration, fresh ones first; null: all", ge=1)
    attempts: int = key("attempts every question gets", ge=1)
    allocation: Allocation = key("uniform or adaptive")
    budget: int = key("adaptive: student tokens per question and iteration, on average", ge=1)
    max_rounds: int = key("adaptive: most retries of one question", ge=0)
    corrections: int = key("uniform: corrections per wrong attempt", ge=0)
    corrector: Corrector = key("who corrects")
    right_by: RightBy = key("what makes an attempt right: its answer, or its reasoning too")
    init: Start = key("what an iteration's training starts from")
    reference: Reference = key("pi_ref")
    fallback: Fallback = key("when no correction succeeds")
    replay: Replay = key("pairs of earlier iterations trained on again")
    replay_iterations: int = key("last_k: how many earlier iterations", ge=1)
    filters: FilterConfig = key("pairs left out")
    gate: Optional[GateConfig] = key("promotion by held-out accuracy; null: every policy goes on")
    pairs_per_question: Optional[int] = key("most pairs made of one question; null: all distinct ones", ge=1)


@dataclass
class ArmConfig:
    """One named experiment: how it differs in what it trains on and with which loss."""

    title: str = key("row name in tables")
    method: Method = key("selfplay, continued_sft or majority_vote")
    chosen: Chosen = key("who writes what is preferred")
    retry: list[Retry] = key("what unsolved questions get, round after round in turn; empty: nothing")
    objective: Objective = key("dpo or nll")
    match: Optional[Match] = key("what is equal to the arm it is compared with; null: compare.at")
    against: str = key("name of that arm; empty: compare.arm")


@dataclass
class CompareConfig:
    """What arms share with the one they are compared with."""

    at: Match = key("optimizer steps, trained tokens, seconds of training, or student tokens in play")
    arm: str = key("the arm that the others are matched to")


@dataclass
class GenerationConfig:
    """Sampling of attempts and corrections."""

    temperature: float = key("softmax temperature of attempts", gt=0, le=5)
    top_p: float = key("nucleus mass", gt=0, le=1)
    max_new_tokens: int = key("longest response, tokens", ge=1)
    correction_max_new_tokens: int = key("longest correction, tokens", ge=1)
    batch_tokens: int = key(
        "embedded engine: tokens, prompts and longest responses, decoded together", semantic=False, ge=1
    )
