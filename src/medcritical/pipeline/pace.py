"""Rough times: how long a stage call will take, from what the most similar finished ones in the store took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from medcritical.config.choices import StudentKind
from medcritical.config.stages import DpoStage, PairStage, PlayStage, SftStage, StudentStage, TeachStage
from medcritical.pipeline.estimate import estimated_tokens, plan_call
from medcritical.pipeline.plan import Plan, StageCall
from medcritical.store import Manifest, Store
from medcritical.store.artefact import SCHEMA
from medcritical.store.hashing import hash_json

_SECONDS_PER_TOKEN = 1 / 20_000
_SECONDS_PER_EXAMPLE = {"sft": 0.0025, "dpo": 0.005}
_SECONDS_OTHERWISE = 0.5
"""The tiny student from scratch on one core of an AMD EPYC (docs/performance.md), for a store that knows nothing yet."""

_LEARNED_FROM = ("templates", "corrections", "scored", "pairs")
MadeT = TypeVar("MadeT", StageCall, Manifest)


class Pace:
    """What stages took so far. Reads every manifest of the store, once.

    Attributes:
        num_older, num_newer: artefacts of another version of the program, whose keys are none of this one.
    """

    def __init__(self, store: Store) -> None:
        manifests = {manifest.ref.key: manifest for manifest in store.manifests()}
        self.num_older = sum(manifest.schema < SCHEMA for manifest in manifests.values())
        self.num_newer = sum(manifest.schema > SCHEMA for manifest in manifests.values())
        self._by_stage: dict[str, list[tuple[str | None, Manifest]]] = defaultdict(list)
        for manifest in manifests.values():
            base = _base(manifest, manifests)
            self._by_stage[manifest.ref.stage].append((_student(base.config) if base else None, manifest))

    def seconds(self, call: StageCall, plan: Plan) -> float | None:
        """Rough wall time of one call; None where nothing alike was ever measured.

        It is the mean over those finished calls of the same stage and base student whose configuration differs in
        the fewest values. For a student from scratch a store without any goes by the measured rates above.
        """
        base = _base(call, {other.ref.key: other for other in plan.calls})
        student = _student(base.identity) if base else None
        alike = [made for trained, made in self._by_stage[call.ref.stage] if trained in (student, None)]
        if not alike:
            return _nominal_seconds(call, base, plan)
        wanted = set(_leaves(call.identity))
        distance = [len(wanted ^ set(_leaves(manifest.config))) for manifest in alike]
        nearest = [made.costs.seconds for made, far in zip(alike, distance, strict=True) if far == min(distance)]
        return sum(nearest) / len(nearest)


def _student(identity: dict[str, Any]) -> str:
    """What names a base student, whatever seed its weights were drawn with."""
    return hash_json(identity["student"])


def _base(made: MadeT, others: Mapping[str, MadeT]) -> MadeT | None:
    """The base student that an artefact goes back to, made or planned; None for one that has none (questions, templates)."""
    waiting: list[MadeT] = [made]
    seen: set[str] = set()
    while waiting:
        current = waiting.pop()
        if current.ref.stage == "student":
            return current
        for ref in current.inputs.values():
            if ref.key not in seen and ref.key in others:
                seen.add(ref.key)
                waiting.append(others[ref.key])
    return None


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}")
    else:
        yield path, repr(value)


def _nominal_seconds(call: StageCall, base: StageCall | None, plan: Plan) -> float | None:
    students = [other.config for other in ([base] if base else plan.calls) if isinstance(other.config, StudentStage)]
    if not students or students[0].student.kind is not StudentKind.scratch:
        return None
    if isinstance(call.config, SftStage | DpoStage):
        return _examples(call, call.config, plan) * _SECONDS_PER_EXAMPLE[call.config.stage]
    return estimated_tokens(call, plan) * _SECONDS_PER_TOKEN or _SECONDS_OTHERWISE


def _examples(call: StageCall, config: SftStage | DpoStage, plan: Plan) -> float:
    """Examples that a training passes, each as often as it does; from the limits of what is asked for."""
    optim = config.optim
    if optim.steps is not None:
        return optim.steps * optim.batch_size
    sources = [ref for role, ref in call.inputs.items() if role in _LEARNED_FROM]
    return (optim.epochs or 0) * sum(_records(plan_call(plan, ref.key), plan) for ref in sources)


def _records(call: StageCall, plan: Plan) -> float:
    """Most templates, corrections or pairs in what a call makes; 0 where it makes something else."""
    config = call.config
    if isinstance(config, TeachStage) and config.questions is not None:
        return (config.questions.count or 0) * (1 + config.synthetic_corrections)
    if isinstance(config, TeachStage):
        played = plan_call(plan, call.inputs["attempts"].key)
        return config.max_wrong * _records(played, plan)
    if isinstance(config, PlayStage):
        return config.questions.count or 0
    if isinstance(config, PairStage):
        played = plan_call(plan, call.inputs["play"].key)
        assert isinstance(played.config, PlayStage)
        new = (config.pairs_per_question or played.config.attempts) * _records(played, plan)  # all: each attempt in one
        earlier = call.inputs.get("earlier")  # pairs that are trained on again
        return new + (_records(plan_call(plan, earlier.key), plan) if earlier else 0)
    return _records(plan_call(plan, call.inputs["pairs"].key), plan) if "pairs" in call.inputs else 0
