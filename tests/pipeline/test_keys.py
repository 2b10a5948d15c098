"""What names an artefact: every leaf of the configuration, the stages that read it, and nothing upstream of them.

The table below is the promise. A key of the schema that is neither in it nor declared `semantic=False` fails the first test.
"""

import dataclasses
import typing
from collections import defaultdict
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import Any

import pytest

from configurations import ASKED, REAL, configure
from medcritical.config.choices import Precision, StrategyKind
from medcritical.config.fields import sliced
from medcritical.config.load import to_identity
from medcritical.config.schema import Config
from medcritical.config.stages import QuestionRange, StageConfig
from medcritical.pipeline.plan import Plan, StageCall, make_plan
from medcritical.store.artefact import artefact_key

TRAINING = "sft dpo"
OPTIM = (
    "learning_rate schedule warmup_steps warmup_share final_rate weight_decay batch_size epochs steps max_grad_norm "
    "adam_beta1 adam_beta2 adam_epsilon"
)
TEXTS = {
    "system": "answer play sft reference dpo teach",
    "question option_separator": "answer play sft reference dpo teach score",
    "option": "student answer play sft reference dpo teach score",
    "attempt": "answer play sft reference dpo",
    "level": "teach sft play pair score",
    "outline chain answer insight": "teach sft play pair score",
    "outline_separator": "student teach sft pair",
    "chain_separator": "teach sft play pair",
    "part_separator": "teach sft play pair",
    "answer_as": "teach pair",
    "wrong_answer": "teach",
    "correction": "sft play reference dpo",
    "step_correction": "sft play",
    "step": "play",
    "teach_level teach teach_correction teach_gold": "teach",
}
"""Texts of a template. A student from scratch reads the words of those that data stand in, too: see SCRATCH."""
SCRATCH = "question attempt correction step_correction outline chain answer insight teach teach_correction teach_gold"
SHAPE = "which calls there are"
ASKED_AND_READ = {
    "system attempt": "answer", "question option option_separator": "answer score", "level outline chain answer insight": "score",
    "outline_separator chain_separator part_separator answer_as wrong_answer correction step_correction step": "",
    "teach_level teach teach_correction teach_gold": "",
}  # fmt: skip
"""Of a published model's template."""

READERS = {
    "name": "report",
    "seed": f"sft play pair dpo report {SHAPE}",
    "data": {
        "format language encoding split on_error": "prepare",
        "seed": f"prepare teach answer report {SHAPE}",
        "contamination shuffle_options": "prepare teach",
        "files.train files.dev files.test sizes.train sizes.dev sizes.test": "prepare",
        "world.diagnosis world.test world.treatment world.options world.hallmark_shown": "prepare",
        "world.noise_min world.noise_max world.posterior_min": "prepare",
    },
    "teacher": {
        "kind": f"teach play {SHAPE}",
        "attempts head_cut show_gold chat_template checked min_characters max_characters files format chain language": "teach",
        "encoding on_error engine.kind engine.model engine.command engine.extra engine.revision": "teach",
        "sampling.temperature sampling.top_p sampling.max_new_tokens sampling.stop": "teach",
        "seed": "teach report",
    },
    "student": {
        "kind source revision trust_remote_code": "student",
        "architecture.hidden_size architecture.num_layers architecture.num_heads": "student",
        "architecture.intermediate_size architecture.max_position_embeddings architecture.initializer_range": "student",
        "lora.rank lora.alpha lora.targets": TRAINING,
    },
    "template": TEXTS,
    "sft": {
        f"{OPTIM} max_length correction_form": "sft",
        "templates": "teach play",
        "synthetic_corrections": "teach sft",
        "correction.max_wrong": "teach",
        "correction.questions correction.attempts": "play",
        "correction.epochs correction.learning_rate": "sft",
    },
    "selfplay": {
        "iterations": SHAPE,
        "beta betas": "dpo report",
        "learning_rates": TRAINING,
        "init reference": "dpo",
        "questions": "play teach",
        "attempts budget max_rounds corrections right_by": "play",
        "allocation": f"play {SHAPE}",
        "corrector": "pair reference dpo",
        "fallback replay replay_iterations": "pair",
        "filters.max_overlap filters.max_length_ratio filters.duplicates": "pair",
        "pairs_per_question": "pair",
        "gate.questions": "answer gate",
        "gate.min_gain gate.max_drop gate.patience": "gate",
    },
    "dpo": {
        OPTIM: TRAINING,
        "nll_weight pair_weight loss length label_smoothing positive_weight": "dpo",
        "max_length": "sft reference dpo",
    },
    "arms": {
        "title against": "report",
        "match": f"play dpo report {SHAPE}",
        "chosen": f"pair {SHAPE}",
        "objective": f"report {SHAPE}",
        "method": SHAPE,
        "retry": f"play {SHAPE}",
    },
    "baselines": {
        "title published source": "report",
        "student.kind student.source student.revision student.trust_remote_code": "student",
        "student.architecture.hidden_size student.architecture.num_layers student.architecture.num_heads": "",
        "student.architecture.intermediate_size student.architecture.max_position_embeddings": "",
        "student.architecture.initializer_range student.lora.rank student.lora.alpha student.lora.targets": "",
        "template": ASKED_AND_READ,
        "temperature top_p max_new_tokens": "answer report",
    },
    "compare": {"at": f"sft play dpo report {SHAPE}", "arm": "report"},
    "experiment": {"fidelity row published source": "report"},
    "engine": {"kind model command extra revision": "answer play"},
    "generation": {
        "temperature top_p max_new_tokens": "answer play",
        "correction_max_new_tokens": "play",
    },
    "verifier": {
        "kind judge.engine.kind judge.engine.model judge.engine.command judge.engine.extra judge.engine.revision": "score play",
        "judge.system judge.prompt judge.max_new_tokens judge.only_digits": "score play",
    },
    "evaluation": {
        "split temperature max_new_tokens chat_template": "answer report",
        "questions top_p prompt votes": "answer",
        "permutations": f"answer {SHAPE}",
        "count_undecided explanation": "score",
        "confidence": "report",
        "base sft": SHAPE,
    },
    "trainer": {"precision": "sft play reference dpo answer"},
    "report": {
        "baseline": "report",
        "prices.currency prices.teacher.prompt prices.teacher.completion prices.student.prompt": "report",
        "prices.student.completion prices.judge.prompt prices.judge.completion": "report",
    },
}  # fmt: skip
"""Stages by the keys that they read."""

LABELS = {"data.name", "template.name", "verifier.judge.name", "baselines.*.template.name"}
"""What tables print; the report reads them as texts of its own."""

LOOP = (
    "selfplay=gated",
    "selfplay.gate.questions=5",
    "selfplay.replay=last_k",
    "selfplay.filters.max_overlap=0.5",
    "selfplay.filters.max_length_ratio=2",
)
PRICED = ("report=priced", "report.prices.teacher.prompt=1", "report.prices.teacher.completion=1")
JUDGED = ("verifier=judge", "verifier.judge.engine.model=j", "trainer.accelerator=cpu")
BASELINE = (
    "baseline=any",
    "baselines.any.student.source=org/m",
    "baselines.any.published=1",
    "baselines.any.temperature=1",
)
CONFIGURATIONS = {
    "demo": (),
    "every play": ("arm=[dpo_self,dpo_samples,dpo_answer,dpo_step,majority_vote]", "sft.correction_form=both", *LOOP),
    "other units": ("arm=[dpo_self]", "sft.epochs=null", "sft.steps=99", "dpo.steps=null", "dpo.epochs=1"),
    "uniform": ("arm=[dpo_self]", "selfplay=uniform", "selfplay.corrector=trained", *PRICED),
    "sampled": ("arm=[dpo_self,rejection_sft_tokens]", "evaluation.temperature=0.5", "evaluation.permutations=2"),
    "served": (*ASKED, "engine=vllm", "engine@teacher.engine=vllm", "teacher.engine.model=m", "arm=[dpo_self]",
               "verifier=judge", "engine@verifier.judge.engine=vllm", "verifier.judge.engine.model=j", "trainer.accelerator=cpu"),
    "asked": (*ASKED, "arm=[dpo_self,dpo_thought,dpo_teacher]", "teacher.show_gold=true", *JUDGED, *BASELINE),
    "recorded": (*REAL, "arm=[sft_continued,dpo_self,dpo_teacher]", "data.shuffle_options=true", "data.contamination=0.5"),
    "positive": ("arm=[dpo_self]", "dpo.loss=dpo_positive", "dpo.positive_weight=5", "experiment.row=dpo_self",
                 "experiment.published=1", "evaluation.max_new_tokens=40", "evaluation.questions=9"),
}  # fmt: skip
"""Configurations in which, together, every key says something."""


NEVER_OF_BASELINES = ("baselines.*.student.architecture", "baselines.*.student.lora")
"""A published model is neither made nor trained."""


def declared(config_class: type, prefix: str = "", semantic: bool = True) -> Iterator[tuple[str, bool]]:
    """Every leaf of the schema, and whether it or what holds it is declared semantic; `*` for a name of the user's."""
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        name, is_semantic = f"{prefix}{field.name}", semantic and field.metadata["semantic"]
        inner = [
            item for item in (hints[field.name], *typing.get_args(hints[field.name])) if dataclasses.is_dataclass(item)
        ]
        star = "*." if typing.get_origin(hints[field.name]) is dict else ""
        if inner:
            yield from declared(inner[0], f"{name}.{star}", is_semantic)
        else:
            yield name, is_semantic


@cache
def readers() -> dict[str, frozenset[str]]:
    """READERS by full name."""

    def spread(table: Any, prefix: str) -> Iterator[tuple[str, str]]:
        if isinstance(table, str):
            yield prefix, table
            return
        for names, below in table.items():
            star = "*." if prefix in ("arms", "baselines") else ""
            for name in names.split():
                yield from spread(below, f"{prefix}.{star}{name}" if prefix else name)

    found = dict(spread(READERS, ""))
    split = {name: {SHAPE} if stages == SHAPE else parts(stages) for name, stages in found.items()}
    for text in SCRATCH.split():
        split[f"template.{text}"] = split[f"template.{text}"] | {"student"}
    return {name: frozenset(stages) for name, stages in split.items()}


def parts(stages: str) -> set[str]:
    before, shape, _ = stages.partition(SHAPE)
    return {*before.split(), *([SHAPE] if shape else [])}


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any, Any]]:
    """(name with `*`, holder, field, value) of everything in a configuration that has a value."""
    names = [field.name for field in dataclasses.fields(config)] if dataclasses.is_dataclass(config) else list(config)
    for name in names:
        value = config[name] if isinstance(config, dict) else getattr(config, name)
        shown = f"{prefix}{'*' if isinstance(config, dict) and prefix in ('arms.', 'baselines.') else name}"
        if dataclasses.is_dataclass(value) or (isinstance(value, dict) and shown in ("arms", "baselines")):
            yield from leaves(value, f"{shown}.")
        elif value is not None:
            yield shown, config, name, value


def others(value: Any) -> list[Any]:
    """Values of the same type that are other ones."""
    if isinstance(value, Enum):
        return [choice for choice in type(value) if choice is not value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, dict):
        return [{**value, "more": 1}]
    if isinstance(value, list):
        return [
            [*value, value[0] if value and not isinstance(value[0], str) else "more"],
            *([[0.5, 0.5]] if not value else []),
        ]
    return [f"{value}x"] if isinstance(value, str) else [value + 1]


def by_label(plan: Plan) -> dict[tuple[str, str], StageCall]:
    return {(call.ref.stage, call.label): call for call in plan.calls}


def effect(before: Plan, after: Plan) -> set[str]:
    """Stages whose own slice is another one; SHAPE where there are other calls. Fails where a key changed upstream of them."""
    first, second = by_label(before), by_label(after)
    if first.keys() != second.keys():
        return {SHAPE}
    moved = set[str]()
    for name, call in second.items():
        is_read = first[name].identity != call.identity
        is_downstream = {ref.key for ref in call.inputs.values()} != {ref.key for ref in first[name].inputs.values()}
        assert (first[name].ref.key != call.ref.key) == (is_read or is_downstream)
        moved |= {name[0]} if is_read else set()
    return moved


@cache
def measured() -> dict[str, frozenset[str]]:
    """What changing each leaf does, over all configurations."""
    found = defaultdict[str, set[str]](set)
    for overrides in CONFIGURATIONS.values():
        config = configure(*overrides)
        before = make_plan(config, {})
        for name, holder, field, value in leaves(config):
            for other in others(value):
                change(holder, field, other)
                try:
                    found[name] |= effect(before, make_plan(config, {}))
                except (AssertionError, KeyError):  # what the configuration check would have refused
                    if not (name.startswith(("arms.", "compare.")) or name == "teacher.kind"):
                        raise
                finally:
                    change(holder, field, value)
    return {name: frozenset(stages) for name, stages in found.items()}


def change(holder: Any, field: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[field] = value
    else:
        setattr(holder, field, value)


def test_every_leaf_is_declared_one_or_the_other() -> None:
    semantic = {name for name, is_semantic in declared(Config) if is_semantic}
    assert semantic == set(readers()), "in the table, or semantic=False at its field"


def test_the_configurations_above_reach_every_leaf() -> None:
    assert {name for name, _ in declared(Config)} - set(measured()) <= {
        "cluster.workers", "trainer.threads", "trainer.checkpoint_every_steps", "trainer.time_limit",
        *(name for name, _ in declared(Config) if name.startswith(("sweep.", "logger.", *NEVER_OF_BASELINES))),
    }  # fmt: skip


def test_what_is_not_semantic_is_in_no_key() -> None:
    names = {name for name, is_semantic in declared(Config) if not is_semantic}
    assert {name: set(measured()[name]) for name in names if measured().get(name, set()) - {"report"}} == {}
    assert {name for name in names if measured().get(name)} == LABELS


def test_what_is_semantic_is_known_to_the_stages_of_the_table_and_to_no_others() -> None:
    wrong = {
        name: (sorted(measured()[name]), sorted(stages))
        for name, stages in readers().items()
        if name in measured() and measured()[name] - {SHAPE} != stages - {SHAPE}
    }
    assert wrong == {}, "name: (measured, table)"


@pytest.mark.parametrize("stage", ["play", "teach", "answer", "sft", "reference", "dpo"])
def test_what_costs_tokens_or_steps_reads_no_label_and_no_statistics(stage: str) -> None:
    config = configure("arm=[dpo_self,majority_vote]", "evaluation.permutations=4", *JUDGED)
    before = {call.ref for call in make_plan(config, {}).calls if call.ref.stage == stage}
    config.name = config.data.name = config.student.name = config.template.name = config.teacher.name = "another"
    config.arms["dpo_self"].title = config.data.world.name = config.verifier.judge.name = "another"  # type: ignore[union-attr]
    config.evaluation.confidence, config.generation.batch_tokens = 0.9, 64
    config.verifier.judge.batch_tokens = 64  # type: ignore[union-attr]
    assert {call.ref for call in make_plan(config, {}).calls if call.ref.stage == stage} == before


@pytest.mark.parametrize(
    "override", ["evaluation.permutations=4", "evaluation.confidence=0.9", "evaluation.count_undecided=false", JUDGED]
)
def test_other_reading_judging_and_statistics_generate_nothing_again(override: str | tuple[str, ...]) -> None:
    more = (override,) if isinstance(override, str) else override
    plans = [
        make_plan(
            configure("arm=[]", "evaluation.sft=false", "report.baseline=base", "trainer.accelerator=cpu", *each), {}
        )
        for each in ((), more)
    ]
    before, after = ({call.ref for call in plan.calls if call.ref.stage == "answer"} for plan in plans)
    assert before <= after


def test_a_field_with_its_neutral_value_changes_no_key() -> None:
    """The same slice before and after a field was added to it, and with the field set."""

    @dataclasses.dataclass
    class Before(StageConfig):
        stage = "made_up"
        questions: QuestionRange

    @dataclasses.dataclass
    class After(StageConfig):
        stage = "made_up"
        questions: QuestionRange
        warmth: float = sliced(neutral=1.0)

    def key_of(stage: StageConfig) -> str:
        return artefact_key(stage.stage, stage.version, to_identity(stage), {})

    questions = QuestionRange(0, 5, 0)
    assert key_of(Before(questions)) == key_of(After(questions)) == key_of(After(questions, warmth=1.0))
    assert key_of(After(questions)) != key_of(After(questions, warmth=2.0))


def test_stated_precision_is_in_keys_with_how_it_is_computed_and_auto_is_not() -> None:
    def keys(precision: Precision, strategy: StrategyKind) -> dict[str, str]:
        config = configure("arm=[dpo_self]", "selfplay.iterations=1")
        config.trainer.precision, config.strategy.kind = precision, strategy
        return {call.ref.stage: call.ref.key for call in make_plan(config, {}).calls}

    auto = keys(Precision.auto, StrategyKind.auto)
    assert keys(Precision.auto, StrategyKind.zero2) == auto
    float32, autocast = (keys(precision, StrategyKind.ddp) for precision in (Precision.float32, Precision.bfloat16))
    weights = keys(Precision.bfloat16, StrategyKind.zero2)
    for stage in ("sft", "reference", "dpo"):
        assert len({plan[stage] for plan in (auto, float32, autocast, weights)}) == 4
    assert {plan["prepare"] for plan in (auto, float32, autocast, weights)} == {auto["prepare"]}
    assert keys(Precision.float32, StrategyKind.zero2) == float32


def test_a_sweep_over_seeds_keeps_questions_teacher_and_who_was_never_trained() -> None:
    plans = [
        by_label(make_plan(configure("baseline=any", "baselines.any.student.source=org/m", seed), {}))
        for seed in ("seed=0", "seed=1")
    ]
    kept = {name for name in plans[0] if plans[0][name].ref == plans[1][name].ref}
    assert kept == {
        ("prepare", "questions"), ("teach", "thought templates"),
        *((stage, label) for label in ("base", "any") for stage in ("answer", "score")), ("student", "baseline any"),
        ("student", "base student"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seed", "kept"),
    [("data.seed", {"student to train"}), ("teacher.seed", {"questions", "base", "base student", "student to train"})],
)
def test_each_seed_moves_its_own(seed: str, kept: set[str]) -> None:
    plans = [by_label(make_plan(configure(override, "seed=9"), {})) for override in (f"{seed}=3", f"{seed}=4")]
    assert {label for _, label in plans[0] if plans[0][_, label].ref == plans[1][_, label].ref} == kept
