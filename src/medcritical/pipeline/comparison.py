"""What an arm is made equal in with the one it is compared with, and how that is said. Pure."""

from __future__ import annotations

from medcritical.config.choices import Match, Method
from medcritical.config.schema import Config

SHARED = {
    Match.steps: "steps",
    Match.tokens: "trained tokens",
    Match.seconds: "training time",
    Match.student_tokens: "student tokens",
}


def match_of(config: Config, name: str) -> Match:
    """What an arm shares with the one it is compared with; that one trains as it is configured."""
    arm = config.arms[name]
    if name == (arm.against or config.compare.arm):
        return Match.steps
    return arm.match or config.compare.at


def trained_match(config: Config, name: str) -> Match:
    """What an arm's training shares: one that is matched in its play trains as it is configured."""
    match = match_of(config, name)
    return Match.steps if match is Match.student_tokens else match


def equal_in(config: Config, name: str) -> str:
    """What an arm is made equal in with another one, as a phrase; empty for one that does not train.

    Trainings by epochs take steps by their number of examples, which are not the same for every arm.
    """
    if config.arms[name].method is Method.majority_vote:
        return ""
    match = match_of(config, name)
    if match is Match.steps:
        return "epochs as configured" if config.dpo.steps is None else "optimizer steps as configured"
    return f"{SHARED[match]} of {config.arms[name].against or config.compare.arm}"


def title_of(config: Config, name: str) -> str:
    """The arm's name in tables, with what it shares with the arm it is compared with, if that is there."""
    arm = config.arms[name]
    other = arm.against or config.compare.arm
    match = match_of(config, name)
    is_by_epochs = match is Match.steps and config.dpo.steps is None
    if name == other or other not in config.arms or arm.method is Method.majority_vote or is_by_epochs:
        return arm.title
    return f"{arm.title}, same {SHARED[match]}"
