"""The plan: pure, the same everywhere, and no artefact made twice."""

import copy
import itertools
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from configurations import ASKED, REAL, configure
from medcritical.config.choices import Match, Retry
from medcritical.config.stages import (
    AnswerStage,
    DpoStage,
    PairStage,
    PlayStage,
    ReportStage,
    SftStage,
    TeachStage,
)
from medcritical.pipeline.estimate import estimated_tokens
from medcritical.pipeline.plan import Plan, make_plan

ALONE = "arm=dpo_self"


def plan_of(*overrides: str, sources: dict[str, str] | None = None) -> Plan:
    return make_plan(configure(*overrides), sources or {})


def keys_of(plan: Plan) -> dict[tuple[str, str], str]:
    """Key of each call by stage and label. A call that arms share goes by the label of the first."""
    keys = {(call.ref.stage, call.label): call.ref.key for call in plan.calls}
    assert len(keys) == len(plan.calls)
    return keys


def changed(before: Plan, after: Plan) -> set[tuple[str, str]]:
    """Stage and label of the calls whose artefact is another one."""
    first, second = keys_of(before), keys_of(after)
    assert first.keys() == second.keys()
    return {name for name in first if first[name] != second[name]}


def test_one_configuration_has_one_plan() -> None:
    config = configure()
    before = copy.deepcopy(config)
    assert make_plan(config, {}) == make_plan(config, {}) == make_plan(before, {})
    assert config == before


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_interpreter_makes_the_same_plan_without_torch(hash_seed: str) -> None:
    code = (
        "import sys; from medcritical.cli.compose import check_overrides; import medcritical.pipeline.run\n"
        "from medcritical.pipeline.plan import make_plan\n"
        "print(*[call.ref.key for call in make_plan(check_overrides([])[0], {}).calls])\n"
        "print(sorted({'torch', 'transformers', 'lightning', 'peft', 'wandb', 'matplotlib'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    keys, heavy = done.stdout.splitlines()
    assert keys.split() == [call.ref.key for call in plan_of().calls]
    assert heavy == "[]"


@pytest.mark.parametrize("overrides", [(), REAL, ("experiments=toy",)], ids=["demo", "real", "toy"])
def test_every_input_is_made_before_it_is_read(overrides: tuple[str, ...]) -> None:
    made: set[str] = set()
    for call in plan_of(*overrides).calls:
        assert {ref.key for ref in call.inputs.values()} <= made
        assert call.ref.key not in made
        made.add(call.ref.key)


def test_what_the_arms_of_the_demo_share() -> None:
    """Six arms, two iterations. Before the first training there are two kinds of play, with and without a corrector;
    after it every arm has a policy of its own."""
    assert Counter(call.ref.stage for call in plan_of().calls) == {
        "prepare": 1,
        "student": 1,
        "teach": 2,  # templates, corrections of own errors
        "sft": 2 + 2,  # two passes of stage 1, two iterations of continued SFT
        "play": 1 + 2 + 5,  # own errors for stage 1, two kinds at first, then five policies
        "pair": 2 + 5,
        "reference": 2 * 2,  # for the two arms with a contrast
        "dpo": 5 * 2,
        "answer": 2 + 6 * 2,
        "score": 2 + 6 * 2,
        "report": 1,
    }


def test_an_arm_makes_the_same_artefacts_alone_and_in_company() -> None:
    together = {call.ref for call in plan_of().calls}
    for arm in ("dpo_self", "dpo_samples", "nll_corrections", "rejection_sft", "sft_continued"):
        alone = plan_of(f"arm={arm}")
        assert {call.ref for call in alone.calls[:-1]} <= together


def test_beta_is_known_to_the_training_and_what_follows_alone() -> None:
    names = changed(plan_of(ALONE, "selfplay.beta=0.1"), plan_of(ALONE, "selfplay.beta=0.3"))
    first = {(stage, "dpo_self iteration 1") for stage in ("dpo", "answer", "score")}
    second = {(stage, "dpo_self iteration 2") for stage in ("play", "pair", "reference", "dpo", "answer", "score")}
    assert names == first | second | {("report", "tables and figures")}


def test_beta_is_nothing_to_arms_without_a_contrast() -> None:
    names = changed(plan_of("arm=rejection_sft", "selfplay.beta=0.1"), plan_of("arm=rejection_sft", "selfplay.beta=1"))
    assert names == set()


def test_more_iterations_go_on_where_fewer_stopped() -> None:
    plans = [plan_of(f"selfplay.iterations={number}") for number in (1, 2, 3)]
    made = [{call.ref for call in plan.calls[:-1]} for plan in plans]
    assert made[0] < made[1] < made[2]
    reports = [plan.report.ref for plan in plans]
    assert len(set(reports)) == 3


def test_cells_of_a_grid_share_what_comes_before_the_first_training() -> None:
    cells = [plan_of(ALONE, "selfplay.iterations=3", f"selfplay.beta={beta}") for beta in (0.05, 0.1, 0.3)]
    made = [{call.ref for call in plan.calls} for plan in cells]
    assert Counter(ref.stage for ref in set.intersection(*made)) == {
        "prepare": 1,
        "student": 1,
        "teach": 2,
        "sft": 2,
        "play": 2,
        "pair": 1,
        "reference": 1,
        "answer": 2,
        "score": 2,
    }


def test_a_matched_control_comes_after_its_target() -> None:
    plan = plan_of("arm=[rejection_sft_tokens,rejection_sft_seconds,dpo_self]", "cluster.workers=1")
    by_label = {(call.ref.stage, call.label): call for call in plan.calls}
    for iteration in (1, 2):
        target = by_label["dpo", f"dpo_self iteration {iteration}"]
        scored = by_label["reference", f"dpo_self iteration {iteration}"]
        tokens = by_label["dpo", f"rejection_sft_tokens iteration {iteration}"]
        seconds = by_label["dpo", f"rejection_sft_seconds iteration {iteration}"]
        assert tokens.inputs["target"] == seconds.inputs["target"] == target.ref
        assert "target_reference" not in tokens.inputs
        assert seconds.inputs["target_reference"] == scored.ref
    assert isinstance(plan.report.config, ReportStage)
    arms = [row.arm for row in plan.report.config.rows]
    assert list(dict.fromkeys(arms)) == ["base", "sft", "rejection_sft_tokens", "rejection_sft_seconds", "dpo_self"]


def test_the_report_reads_a_score_and_a_checkpoint_for_every_row() -> None:
    plan = plan_of()
    assert isinstance(plan.report.config, ReportStage)
    rows = plan.report.config.rows
    assert set(plan.report.inputs) == {
        f"{kind}-{number}" for kind in ("score", "checkpoint") for number in range(len(rows))
    }
    made_by = {call.ref: call for call in plan.calls}
    for number, row in enumerate(rows):
        checkpoint = plan.report.inputs[f"checkpoint-{number}"]
        assert checkpoint.stage == {"base": "student"}.get(row.stage, row.stage)
        answers = made_by[plan.report.inputs[f"score-{number}"]].inputs["answers"]
        assert made_by[answers].inputs["checkpoint"] == checkpoint
    assert [row.beta for row in rows if row.arm in ("dpo_self", "sft", "rejection_sft")] == [None, 0.1, 0.1, None, None]


def test_every_iteration_plays_on_questions_of_its_own() -> None:
    plays = [
        call.config for call in plan_of(ALONE, "selfplay.iterations=3").calls if isinstance(call.config, PlayStage)
    ]
    ranges = [(play.questions.start, play.questions.count, play.questions.first) for play in plays]
    assert ranges == [(120, 120, 0), (240, 800, 240), (1040, 800, 240), (1840, 800, 240)]


def test_corrector_and_reference_are_who_the_configuration_says() -> None:
    def inputs(*overrides: str) -> dict[str, Any]:
        calls = {(call.ref.stage, call.label): call for call in plan_of(ALONE, *overrides).calls}
        return {
            "sft": calls["sft", "stage 1, second pass"].ref,
            "first": calls["dpo", "dpo_self iteration 1"].ref,
            "corrector": calls["play", "dpo_self iteration 2"].inputs["corrector"],
            "reference": calls["reference", "dpo_self iteration 2"].inputs["checkpoint"],
        }

    default = inputs()
    assert (default["corrector"], default["reference"]) == (default["sft"], default["first"])
    other = inputs("selfplay.corrector=current", "selfplay.reference=sft")
    assert (other["corrector"], other["reference"]) == (other["first"], other["sft"])


def by_label(plan: Plan) -> dict[tuple[str, str], Any]:
    return {(call.ref.stage, call.label): call for call in plan.calls}


def test_init_says_what_an_iteration_trains_and_whether_it_starts_at_its_reference() -> None:
    for init, reference in itertools.product(("previous", "sft"), repeat=2):
        calls = by_label(plan_of(ALONE, f"selfplay.init={init}", f"selfplay.reference={reference}"))
        places = {"previous": calls["dpo", "dpo_self iteration 1"].ref, "sft": calls["sft", "stage 1, second pass"].ref}
        second = calls["dpo", "dpo_self iteration 2"]
        assert second.inputs["checkpoint"] == places[init]
        assert calls["reference", "dpo_self iteration 2"].inputs["checkpoint"] == places[reference]
        assert second.config.starts_at_reference == (init == reference)
        assert calls["dpo", "dpo_self iteration 1"].config.starts_at_reference


def test_replay_reads_the_pairs_of_the_iteration_before() -> None:
    def pairs(*overrides: str) -> list[Any]:
        calls = by_label(plan_of(ALONE, "selfplay.iterations=3", *overrides))
        return [calls["pair", f"dpo_self iteration {number}"] for number in (1, 2, 3)]

    assert ["earlier" in call.inputs for call in pairs()] == [False] * 3
    for rule, since in (("all", [1, 1, 1]), ("last_k", [-1, 0, 1])):
        calls = pairs(f"selfplay.replay={rule}", "selfplay.replay_iterations=2")
        assert [call.inputs.get("earlier") for call in calls] == [None, calls[0].ref, calls[1].ref]
        assert [call.config.replay_from for call in calls] == since


def test_beta_and_rate_by_iteration() -> None:
    plan = plan_of(
        ALONE, "selfplay.iterations=3", "selfplay.betas=[0.1,0.5]", "selfplay.learning_rates=[1e-3,5e-4,1e-4]"
    )
    trainings = [call.config for call in plan.calls if isinstance(call.config, DpoStage)]
    assert [stage.beta for stage in trainings] == [0.1, 0.5, 0.5]
    assert [stage.optim.learning_rate for stage in trainings] == [1e-3, 5e-4, 1e-4]
    assert isinstance(plan.report.config, ReportStage)
    assert [row.beta for row in plan.report.config.rows] == [None, None, 0.1, 0.5, 0.5]


def test_a_gated_loop_goes_on_from_its_gates() -> None:
    calls = by_label(plan_of(ALONE, "selfplay=gated", "evaluation.permutations=4"))
    first, second = (calls["gate", f"dpo_self iteration {number}"] for number in (1, 2))
    sft = calls["sft", "stage 1, second pass"].ref
    assert first.inputs["candidate"] == calls["dpo", "dpo_self iteration 1"].ref
    assert (first.inputs["best"], second.inputs["best"]) == (sft, first.ref)
    assert ("best_score" in first.inputs, "best_score" in second.inputs) == (True, False)
    assert calls["play", "dpo_self iteration 2"].inputs["policy"] == first.ref
    assert calls["answer", "dpo_self iteration 1"].inputs["checkpoint"] == first.ref
    dev = calls["answer", "dpo_self iteration 1, dev"].config
    assert (dev.split, dev.orders) == ("dev", 1)
    assert "permuted" not in calls["score", "dpo_self iteration 1, dev"].inputs
    assert calls["answer", "sft, dev"].inputs["checkpoint"] == sft


def test_a_stopped_loop_asks_no_teacher() -> None:
    """Thoughts of later iterations hang on their own play, which is left empty; the first can only be wanted."""
    plan = plan_of("arm=dpo_thought", "selfplay=gated")
    calls = by_label(plan)
    first, second = (calls["teach", f"dpo_thought iteration {number}"] for number in (1, 2))
    assert set(first.inputs) == {"questions"}
    assert second.inputs["play"] == calls["play", "dpo_thought iteration 2"].ref
    ungated = by_label(plan_of("arm=dpo_thought"))["teach", "dpo_thought iteration 2"]
    assert set(ungated.inputs) == {"questions"}


def test_who_writes_what_is_preferred() -> None:
    """The teacher's arms share one play without retries; each reads what its own teaching made."""
    plan = plan_of("arm=[dpo_teacher,dpo_thought,dpo_answer]", "selfplay.iterations=1")
    pairs = {call.config.chosen.value: call for call in plan.calls if isinstance(call.config, PairStage)}
    assert len({call.inputs["play"] for call in pairs.values()}) == 1
    made_by = {call.ref: call for call in plan.calls}
    corrected, thought = (made_by[pairs[name].inputs["taught"]] for name in ("teacher", "thought"))
    assert set(corrected.inputs) == {"attempts", "templates"}
    assert corrected.config.max_wrong == 1
    assert (thought.config.questions.start, thought.config.questions.count) == (240, 800)
    assert "taught" not in pairs["answer"].inputs
    recorded = plan_of(*REAL, "arm=dpo_thought", "selfplay.iterations=1")
    calls = by_label(recorded)
    assert calls["pair", "dpo_thought iteration 1"].inputs["taught"] == calls["teach", "thought templates"].ref


def test_only_who_corrects_has_a_corrector() -> None:
    plan = plan_of("arm=[dpo_self,dpo_step,dpo_mix,dpo_eliminate,dpo_samples]", "sft.correction_form=both")
    has_corrector = {
        call.label: "corrector" in call.inputs for call in plan.calls if isinstance(call.config, PlayStage)
    }
    first = {name.removesuffix(" iteration 1"): has for name, has in has_corrector.items() if name.endswith(" 1")}
    assert {name for name, has in first.items() if has} == {"dpo_self", "dpo_step", "dpo_mix"}
    trained = plan_of("arm=[dpo_self,dpo_samples]", "selfplay.corrector=trained")
    learns = {call.label: call.config.trains_corrector for call in trained.calls if isinstance(call.config, PairStage)}
    assert (learns["dpo_self iteration 1"], learns["dpo_samples iteration 1"]) == (True, False)
    calls = by_label(trained)
    assert calls["play", "dpo_self iteration 2"].inputs["corrector"] == calls["dpo", "dpo_self iteration 1"].ref


@pytest.mark.parametrize(("at", "shared"), [("tokens", "trained tokens"), ("seconds", "training time")])
def test_compare_at_matches_every_other_arm_and_the_table_says_so(at: str, shared: str) -> None:
    arms = "arm=[sft_continued,rejection_sft,dpo_self,dpo_samples]"
    plan = plan_of(arms, f"compare.at={at}", "cluster.workers=1", "selfplay.iterations=1")
    calls = by_label(plan)
    target = calls["dpo", "dpo_self iteration 1"].ref
    for stage, name in (("sft", "sft_continued"), ("dpo", "rejection_sft"), ("dpo", "dpo_samples")):
        call = calls[stage, f"{name} iteration 1"]
        assert (call.config.match, call.inputs["target"]) == (Match(at), target)
        assert ("target_reference" in call.inputs) == (at == "seconds")
    assert calls["dpo", "dpo_self iteration 1"].config.match is Match.steps
    assert isinstance(plan.report.config, ReportStage)
    titles = {row.arm: row.title for row in plan.report.config.rows if row.iteration}
    assert titles["dpo_self"] == "MedCritical (self-correction DPO)"
    assert {title.rpartition(", same ")[2] for arm, title in titles.items() if arm != "dpo_self"} == {shared}


def test_at_equal_student_tokens_plays_are_matched_and_trainings_as_configured() -> None:
    plan = plan_of("arm=[dpo_teacher,dpo_self,nll_corrections,dpo_samples]", "compare.at=student_tokens")
    calls, plays = by_label(plan), {call.label: call for call in plan.calls if call.ref.stage == "play"}
    target, teacher = plays["dpo_self iteration 1"], plays["dpo_teacher iteration 1"]
    assert "target" not in target.inputs
    assert (teacher.inputs["target"], teacher.config.retry) == (target.ref, [Retry.resample])
    assert "dpo_samples iteration 1" not in plays  # the same new attempts, for as many tokens
    assert calls["pair", "dpo_teacher iteration 1"].inputs["play"] == teacher.ref
    # Arms that differ in their training alone have one play, as long as one model plays it.
    assert "nll_corrections iteration 1" not in plays
    assert plays["nll_corrections iteration 2"].inputs["target"] == plays["dpo_self iteration 2"].ref
    trainings = [call for call in plan.calls if call.ref.stage == "dpo"]
    assert all(call.config.match is Match.steps and "target" not in call.inputs for call in trainings)
    assert estimated_tokens(teacher, plan) == estimated_tokens(target, plan) > 0
    assert isinstance(plan.report.config, ReportStage)
    equal = {row.arm: (row.title.rpartition(", same ")[2], row.equal) for row in plan.report.config.rows}
    assert equal["dpo_teacher"] == ("student tokens", "student tokens of dpo_self")
    assert equal["dpo_self"][1] == "optimizer steps as configured"
    assert equal["sft"][1] == ""


def test_what_is_as_long_as_a_preference_training_has_its_beta() -> None:
    """Cells of a sweep over beta differ in it, too."""
    plan = plan_of("arm=[dpo_self,rejection_sft,rejection_sft_tokens]", "selfplay.beta=0.3")
    assert isinstance(plan.report.config, ReportStage)
    betas = {row.arm: row.beta for row in plan.report.config.rows}
    assert (betas["rejection_sft"], betas["rejection_sft_tokens"], betas["dpo_self"]) == (None, 0.3, 0.3)


def test_epochs_are_no_equal_steps() -> None:
    arms, epochs = "arm=[dpo_self,dpo_samples]", ["dpo.steps=null", "dpo.epochs=2"]
    for more, title, equal in (
        ([], "DPO on own samples, same steps", "optimizer steps as configured"),
        (epochs, "DPO on own samples", "epochs as configured"),
    ):
        report = plan_of(arms, *more).report.config
        assert isinstance(report, ReportStage)
        assert {(row.title, row.equal) for row in report.rows if row.arm == "dpo_samples"} == {(title, equal)}


def test_an_arms_own_match_goes_before_compare_at() -> None:
    arms = "arm=[dpo_self,rejection_sft,rejection_sft_tokens]"
    plan = plan_of(arms, "compare.at=seconds", "cluster.workers=1", "selfplay.iterations=1")
    assert isinstance(plan.report.config, ReportStage)
    titles = [row.title for row in plan.report.config.rows if row.iteration]
    assert [title.rpartition(", same ")[2] for title in titles[1:]] == ["training time", "trained tokens"]


def test_a_majority_vote_asks_the_stage_one_model_several_times() -> None:
    plan = plan_of("arm=majority_vote", "evaluation.votes=5", "evaluation.permutations=2")
    stages = {call.label: call for call in plan.calls if isinstance(call.config, AnswerStage)}
    vote, greedy, other = stages["majority_vote"], stages["sft"], stages["sft, other orders"]
    assert vote.inputs == greedy.inputs == other.inputs
    assert [(call.config.samples, call.config.temperature, call.config.orders) for call in (vote, greedy, other)] == [
        (5, 1.0, 1),
        (1, 0, 1),
        (1, 0, 2),
    ]
    assert "majority_vote, other orders" not in stages


def test_stage_one_is_left_out_where_nothing_needs_it() -> None:
    plan = plan_of("arm=[]", "evaluation.sft=false", "report.baseline=base")
    assert [call.ref.stage for call in plan.calls] == ["prepare", "student", "answer", "score", "report"]


def test_how_corrections_are_taught_is_known_to_stage_one_alone() -> None:
    names = changed(plan_of(ALONE), plan_of(ALONE, "sft.correction_form=both"))
    assert ("sft", "stage 1") in names
    assert not names & {("teach", "thought templates"), ("prepare", "questions"), ("student", "base student")}
    stages = [call.config for call in plan_of("sft.correction_form=both").calls if isinstance(call.config, SftStage)]
    assert {stage.correction_form.value for stage in stages} == {"both"}


def test_the_loss_is_known_to_the_training_and_what_follows_alone() -> None:
    one, other = (plan_of(ALONE, "selfplay.iterations=1", f"dpo.loss={loss}") for loss in ("sigmoid", "hinge"))
    assert changed(one, other) == {
        ("dpo", "dpo_self iteration 1"),
        ("answer", "dpo_self iteration 1"),
        ("score", "dpo_self iteration 1"),
        ("report", "tables and figures"),
    }
    assert changed(plan_of("arm=rejection_sft"), plan_of("arm=rejection_sft", "dpo.loss=hinge")) == set()


def test_the_weight_of_the_nll_beside_a_contrast_is_no_control_s() -> None:
    """What trains the NLL alone trains it with weight 1."""
    controls = "arm=[rejection_sft,nll_corrections]"
    assert changed(plan_of(controls), plan_of(controls, "dpo.nll_weight=0")) == set()
    trainings = [call.config for call in plan_of(controls).calls if isinstance(call.config, DpoStage)]
    assert {stage.nll_weight for stage in trainings} == {1.0}


def test_what_is_chosen_alone_is_left_out_where_the_contrast_is_the_whole_loss() -> None:
    def keeps(*overrides: str) -> dict[str, bool]:
        calls = plan_of("arm=[dpo_self,nll_corrections]", *overrides).calls
        return {call.label: call.config.keeps_alone for call in calls if isinstance(call.config, PairStage)}

    assert set(keeps().values()) == {True}
    assert keeps("dpo.nll_weight=0")["dpo_self iteration 1"] is False
    assert keeps("dpo.nll_weight=0")["nll_corrections iteration 1"] is True
    one, other = (plan_of(ALONE, "selfplay.iterations=1", f"dpo.nll_weight={weight}") for weight in (1, 2))
    assert {stage for stage, _ in changed(one, other)} == {"dpo", "answer", "score", "report"}  # no pair is another


def test_how_many_pairs_a_question_has_and_what_they_weigh() -> None:
    one = plan_of(ALONE, "selfplay.iterations=1")
    several = plan_of(ALONE, "selfplay.iterations=1", "selfplay.pairs_per_question=null")
    assert {stage for stage, _ in changed(one, several)} == {"pair", "reference", "dpo", "answer", "score", "report"}
    weighed = [ALONE, "selfplay.iterations=1", "dpo.pair_weight=per_question"]
    assert changed(one, plan_of(*weighed)) == set(), "of one pair a question the weight is 1 either way"
    shared = plan_of(*weighed, "selfplay.pairs_per_question=null")
    assert {stage for stage, _ in changed(several, shared)} == {"dpo", "answer", "score", "report"}


SOURCES = {
    "data/medqa/US/train.jsonl": "1" * 64,
    "data/medqa/US/dev.jsonl": "2" * 64,
    "data/medqa/US/test.jsonl": "3" * 64,
    "data/huatuo_o1/demo_data.json": "4" * 64,
}


def test_a_data_file_is_known_by_its_content() -> None:
    here = plan_of(*REAL, sources=SOURCES)
    content = plan_of(*REAL, sources=SOURCES | {"data/medqa/US/test.jsonl": "5" * 64})
    assert set(keys_of(here)) - changed(here, content) == {("student", "base student")}
    traces = plan_of(*REAL, sources=SOURCES | {"data/huatuo_o1/demo_data.json": "5" * 64})
    kept = set(keys_of(here)) - changed(here, traces)
    assert kept == {("student", "base student"), ("prepare", "questions"), ("answer", "base"), ("score", "base")}


def test_a_data_file_is_not_known_by_where_it_lies() -> None:
    here = plan_of(*REAL, sources=SOURCES)
    there = plan_of(*REAL, "paths.data=/elsewhere", sources={f"/elsewhere/{k[5:]}": v for k, v in SOURCES.items()})
    assert changed(here, there) == set()
    swapped = {**SOURCES, "data/medqa/US/train.jsonl": "3" * 64, "data/medqa/US/test.jsonl": "1" * 64}
    assert ("prepare", "questions") in changed(here, plan_of(*REAL, sources=swapped))


def test_a_student_in_a_folder_is_known_by_its_files() -> None:
    names = [
        keys_of(plan_of(*REAL, f"student.source={folder}", sources={folder: content}))["student", "base student"]
        for folder, content in (("/a", "1" * 64), ("/b", "1" * 64), ("/a", "2" * 64))
    ]
    assert names[0] == names[1] != names[2]


def test_every_level_of_an_ablation_shares_what_an_asked_teacher_wrote() -> None:
    both = plan_of(*ASKED)
    detailed = plan_of(*ASKED, "template.level=detailed")
    teach = ("teach", "thought templates")
    assert keys_of(both)[teach] == keys_of(detailed)[teach]
    assert ("sft", "stage 1") in changed(both, detailed)
    recorded = [plan_of(*REAL, f"template.level={level}") for level in ("detailed", "none")]
    assert keys_of(recorded[0])[teach] != keys_of(recorded[1])[teach]


def test_only_recorded_traces_are_compared_with_held_out_questions() -> None:
    def limits(plan: Plan) -> list[float | None]:
        return [call.config.contamination for call in plan.calls if isinstance(call.config, TeachStage)]

    assert limits(plan_of(*REAL, "data.contamination=0.7")) == [0.7]
    assert limits(plan_of(*REAL, "data.contamination=null")) == [None]
    assert set(limits(plan_of(*ASKED, "data.contamination=0.7"))) == {None}


def test_an_asked_teacher_is_known_by_its_model_and_not_by_where_it_is() -> None:
    here = plan_of(*ASKED)
    assert changed(here, plan_of(*ASKED, "teacher.engine.url=http://there/v1", "teacher.engine.retries=1")) == set()
    assert ("teach", "thought templates") in changed(here, plan_of(*ASKED, "teacher.engine.model=n"))
    assert ("teach", "thought templates") in changed(here, plan_of(*ASKED, "teacher.show_gold=true"))


def test_the_students_engine_is_known_to_whoever_lets_it_answer() -> None:
    served = plan_of(*REAL, "engine=vllm", "trainer.accelerator=cpu")
    names = changed(plan_of(*REAL, "trainer.accelerator=cpu"), served)
    assert {("answer", "base"), ("play", "dpo_self iteration 1")} <= names
    assert ("sft", "stage 1") not in names


def test_a_judge_is_known_to_whatever_it_decides_and_to_nothing_else() -> None:
    judged = ["verifier=judge", "verifier.judge.engine.model=some/judge"]
    names = changed(plan_of(ALONE), plan_of(ALONE, *judged))
    assert {("score", "base"), ("play", "own errors for stage 1"), ("play", "dpo_self iteration 1")} <= names
    assert not names & {
        ("prepare", "questions"),
        ("teach", "thought templates"),
        ("sft", "stage 1"),
        ("answer", "base"),
    }
    prompt = "verifier.judge.prompt='{question} {gold} {reply} 1 or 2?'"
    assert ("score", "base") in changed(plan_of(ALONE, *judged), plan_of(ALONE, *judged, prompt))


def test_prices_are_known_to_the_report_alone() -> None:
    prices = ["report=priced", "report.prices.teacher.prompt=0.5", "report.prices.teacher.completion=2"]
    assert changed(plan_of(ALONE), plan_of(ALONE, *prices)) == {("report", "tables and figures")}
