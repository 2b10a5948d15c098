"""Every overlay in experiments/: composed, checked and planned, on the clinic and on real questions with a real student."""

import re

import pytest
import yaml

from configurations import ASKED
from medcritical.cli.compose import check_overrides, configuration_folder
from medcritical.config.stages import AnswerStage, DpoStage, ReportStage
from medcritical.errors import ConfigError
from medcritical.pipeline.estimate import describe_experiment, describe_losses
from medcritical.pipeline.plan import Plan, make_plan
from medcritical.pipeline.slices import Slices

FOLDER = configuration_folder().parent / "experiments"
WITH_THEIR_OWN_DATA = {"baselines", "official", "smollm2_medqa"}
PAPER_ARMS = {
    *(
        "base",
        "sft_answer",
        "sft_thought",
        "sft_thought_concise",
        "dpo_answer",
        "dpo_thought",
        "dpo_teacher",
        "dpo_self",
    ),
    *(
        "dpo_self_concise",
        "loop_self",
        "sft_continued",
        "rejection_sft",
        "dpo_samples",
        "nll_corrections",
        "majority_vote",
    ),
}
CLINIC_ONLY = {
    "sound_verifier": "selfplay.right_by=soundness",
    "corrections_synthetic": "sft.synthetic_corrections=0.5",
}
ON_THE_CLINIC = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem not in WITH_THEIR_OWN_DATA)


def plan_of(*overrides: str) -> Plan:
    (config,) = check_overrides(overrides)
    return make_plan(config, {})


def test_the_papers_arms_are_there() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} >= PAPER_ARMS


@pytest.mark.parametrize("name", ON_THE_CLINIC)
def test_overlay_says_what_runs_it_and_is_planned(name: str) -> None:
    (config,) = check_overrides([f"experiments={name}"])
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert f"#   medcritical experiments={name}\n" in text
    plan = make_plan(config, {})
    assert isinstance(plan.report.config, ReportStage)
    if name != "toy":
        assert config.experiment.command == f"medcritical experiments={name}"
        assert config.experiment.row in [row.arm for row in plan.report.config.rows]
        assert [value.arm for value in plan.report.config.published] == [config.experiment.row]


@pytest.mark.parametrize("name", sorted(set(ON_THE_CLINIC) - {"toy"}))
def test_overlay_goes_with_real_questions_unchanged(name: str) -> None:
    if name in CLINIC_ONLY:
        with pytest.raises(ConfigError, match=CLINIC_ONLY[name]):
            plan_of(f"experiments={name}", *ASKED)
        return
    no_synthetic = ["sft.synthetic_corrections=0"]
    stages = {call.ref.stage for call in plan_of(f"experiments={name}", *ASKED, *no_synthetic).calls}
    assert stages >= {"prepare", "student", "answer", "score", "report"}


def test_overlay_sets_no_data_and_no_model() -> None:
    """What makes an arm the same on the clinic and on real questions."""
    for name in set(ON_THE_CLINIC) - {"toy"}:
        overlay = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        groups = {re.sub(r"override /", "", key) for entry in overlay["defaults"] for key in entry}
        assert groups <= {"arm", "selfplay"}, name
        assert not set(overlay) & {"data", "student", "engine", "generation", "trainer"}, name


def test_the_official_settings() -> None:
    (config,) = check_overrides(["experiments=official"])
    played = Slices(config).questions_of(1)
    assert config.data.sizes.train is not None
    assert (played.start, played.count) == (config.sft.templates, config.data.sizes.train - 3000)
    assert config.student.source == "Qwen/Qwen2.5-7B-Instruct"
    assert config.teacher.engine is not None
    assert config.teacher.engine.model == "Qwen/QwQ-32B"
    (dpo,) = [call.config for call in make_plan(config, {}).calls if isinstance(call.config, DpoStage)]
    assert dpo.lora is not None
    assert (dpo.lora.rank, dpo.beta, dpo.nll_weight) == (8, 0.3, 0)
    optim = dpo.optim
    assert (optim.learning_rate, optim.epochs, optim.batch_size) == (1e-5, 10, 16)
    assert (optim.schedule.value, optim.warmup_share, optim.max_length) == ("cosine", 0.05, 2048)
    tested = [call.config for call in make_plan(config, {}).calls if isinstance(call.config, AnswerStage)]
    assert {(stage.temperature, stage.top_p, stage.max_new_tokens) for stage in tested} == {(0.7, 0.9, 450)}
    assert all("{question}" in stage.template.attempt for stage in tested)
    assert tested[0].template.attempt != config.template.attempt


FLAWS = {
    "teacher.show_gold": ("true", "false"),
    "teacher.chat_template": ("false", "true"),
    "teacher.checked": ("false", "true"),
    "teacher.head_cut": ("true", "false"),
    "verifier.judge.max_new_tokens": ("1", "2048"),
    "verifier.judge.only_digits": ("true", "false"),
    "dpo.nll_weight": ("0", "1"),
    "evaluation.temperature": ("0.7", "0"),
    "evaluation.max_new_tokens": ("450", "2048"),
    "evaluation.prompt": ("你", "''"),
    "evaluation.chat_template": ("false", "true"),
    "evaluation.count_undecided": ("false", "true"),
}


@pytest.mark.parametrize(("key", "values"), FLAWS.items(), ids=list(FLAWS))
def test_an_official_flaw_is_one_key(key: str, values: tuple[str, str]) -> None:
    """The overlay has it, marks it, and without it something else is done."""
    text = (FOLDER / "official.yaml").read_text(encoding="utf-8")
    flawed, mended = values
    group, last = key.split(".", 1)[0], key.rsplit(".", 1)[-1]
    (section,) = re.findall(rf"^{group}:\n((?: +.*\n)+)", text, re.MULTILINE)
    assert re.search(rf"^ +{last}: \"?{flawed}.*# flaw: ", section, re.MULTILINE)
    official, without = plan_of("experiments=official"), plan_of("experiments=official", f"{key}={mended}")
    assert official.report.ref != without.report.ref


def test_no_flaw_goes_unlisted() -> None:
    text = (FOLDER / "official.yaml").read_text(encoding="utf-8")
    assert len(re.findall(r"# flaw: ", text)) == len(FLAWS)


def test_baselines_are_evaluation_only_and_asked_in_their_own_way() -> None:
    plan = plan_of("experiments=baselines")
    assert [call.ref.stage for call in plan.calls] == ["prepare", *["student", "answer", "score"] * 4, "report"]
    stages = [call.config for call in plan.calls if isinstance(call.config, AnswerStage)]
    assert len({stage.template.attempt for stage in stages}) == 4
    assert isinstance(plan.report.config, ReportStage)
    cards = {value.arm: value.accuracy for value in plan.report.config.published}
    assert cards == {
        "huatuogpt_o1_7b": 59.38,
        "taiyi": 66.46,
        "deepseek_r1_distill_qwen_7b": 57.47,
        "qwen2_5_7b_instruct": None,
    }


def test_any_hugging_face_id_is_a_baseline() -> None:
    plan = plan_of(
        "arm=[]",
        "baseline=any",
        "baselines.any.student.source=some/model",
        "evaluation.sft=false",
        "report.baseline=base",
    )
    assert [call.label for call in plan.calls] == [
        *("questions", "baseline any", "any", "any", "base student", "base", "base", "tables and figures")
    ]
    with pytest.raises(ConfigError, match=r"baselines\.any\.(student\.source|title) has no value"):
        plan_of("baseline=any")


def test_the_plan_names_arms_comparison_and_losses() -> None:
    arms = "arm=[dpo_self,rejection_sft,majority_vote]"
    (config,) = check_overrides(["experiments=rejection_sft", arms, "compare.at=tokens", "dpo.loss=hinge"])
    said = describe_experiment(config)
    assert said.splitlines() == [
        "medcritical experiments=rejection_sft (fidelity: corrected)",
        "  dpo_self: MedCritical (self-correction DPO)",
        "  rejection_sft: Rejection SFT, same trained tokens",
        "  majority_vote: Majority vote of the SFT model",
        "equal between arms: optimizer steps as configured; trained tokens of dpo_self (compare.at=tokens)",
    ]
    losses = describe_losses(make_plan(config, {})).splitlines()
    assert len(losses) == 2
    assert "max(0, 1 - 0.1 * [(log pi/pi_ref)(chosen) - (log pi/pi_ref)(rejected)])" in losses[0]


def test_a_published_value_is_told_with_its_source() -> None:
    (config,) = check_overrides(["experiments=dpo_self_concise"])
    assert "published 70.62 % (README of the paper's repository" in describe_experiment(config)
