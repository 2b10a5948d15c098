"""What a configuration may not say, and how it is told: every message names the key, the value and the remedy."""

import math

import pytest

from configurations import ASKED, REAL, configure
from medcritical.cli.compose import check_overrides
from medcritical.config.check import contradictions
from medcritical.config.fields import key, range_faults
from medcritical.config.load import all_keys, to_plain
from medcritical.config.schema import Config
from medcritical.errors import ConfigError

REAL_SEEDED = [*REAL, "data.split=seeded", "data.files.test=[q.jsonl]", "data.sizes.dev=5", "data.sizes.test=5"]
JUDGED = ("verifier=judge", "verifier.judge.engine.model=some/judge")
PRICED = ("report=priced", "report.prices.teacher.prompt=0.5", "report.prices.teacher.completion=2")
CPU = ("trainer.accelerator=cpu",)
TOKENS = "arm=[dpo_self,rejection_sft_tokens]"


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        configure(*overrides)
    return str(caught.value)


def refusal_of_command(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check_overrides(overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["selfplay.bta=1"], ["selfplay.bta", "did you mean selfplay.beta?"]),
        (["sftt.epochs=1"], ["sftt", "sft.epochs?"]),
        (["qwertyuiop=1"], ["qwertyuiop", "medcritical --cfg job"]),
        (["+data.world.nose=1"], ["data.world.nose", "no configuration key"]),
        (["+arms.dpo_self.titel=x"], ["arms.dpo_self.titel", "no configuration key"]),
        (["selfplay.pairs_per_question=all"], ["selfplay.pairs_per_question=all", "must be a whole number"]),
        (["selfplay.beta=warm"], ["selfplay.beta=warm", "must be a number"]),
        (["seed=1.5"], ["seed=1.5", "must be a whole number"]),
        (["plan=perhaps"], ["plan=perhaps", "must be true or false"]),
        (["data.sizes=300"], ["data.sizes=300", "data.sizes.train"]),
        (["name=null"], ["name=null", "must have a value"]),
        (["name=../x"], ["name=../x", "no folder name"]),
        (["~sft"], ["sft has no value"]),
        (["arm=[]", "evaluation.base=false", "evaluation.sft=false"], ["nothing is scored", "an arm or a baseline"]),
        (["selfplay.reference=first"], ["selfplay.reference=first", "previous, sft"]),
        (["trainer.precision=fp8"], ["trainer.precision=fp8", "auto"]),
        (["teacher=gpt"], ["teacher=gpt", "oracle, own_traces, recorded"]),
        (["data/world=mild"], ["data/world=mild", "easy, hard"]),
        (["arm=[dpo_self,dpo_selv]"], ["arm=dpo_selv", "dpo_samples, dpo_self"]),
        (["selfplay=null"], ["group", "group=option"]),
        (["beta"], ["beta is no override", "key=value"]),
        (["seed=${nowhere}"], ["seed", "nowhere"]),
    ],
)
def test_unknown_keys_types_and_options(overrides: list[str], said: list[str]) -> None:
    message = refusal_of_command(*overrides)
    assert all(part in message for part in said), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("selfplay.beta=0", "greater than 0"),
        ("selfplay.beta=-0.1", "greater than 0"),
        ("selfplay.iterations=101", "at least 1 and at most 100"),
        ("selfplay.pairs_per_question=0", "at least 1"),
        ("generation.top_p=1.5", "greater than 0 and at most 1"),
        ("dpo.label_smoothing=0.5", "at least 0 and less than 0.5"),
        ("data.world.hallmark_shown=2", "at most 1"),
        ("sft.correction.attempts=0", "at least 1"),
        ("student.architecture.num_layers=0", "at least 1"),
        ("selfplay.beta=inf", "finite"),
        ("dpo.max_grad_norm=inf", "finite"),
        ("generation.temperature=nan", "finite"),
    ],
)
def test_ranges(override: str, allowed: str) -> None:
    message = refusal(override)
    assert message.startswith(override)
    assert allowed in message


@pytest.mark.parametrize(
    "override", ["selfplay.beta=1e-6", "selfplay.iterations=100", "selfplay.filters.max_overlap=1"]
)
def test_ranges_end_where_they_say(override: str) -> None:
    configure(override)


def test_bounds_of_a_field_are_known_words() -> None:
    with pytest.raises(TypeError, match="above"):
        key("x", above=1)


def test_every_fault_is_told_at_once() -> None:
    lines = refusal("selfplay.beta=-1", "generation.top_p=2", "dpo.steps=0").splitlines()
    assert [line.split("=")[0] for line in lines] == ["selfplay.beta", "dpo.steps", "generation.top_p"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.world=null", "data.name=x"], ["data.world", "clinic"]),
        (["data.format=jsonl"], ["data.world", "data.format is jsonl"]),
        (["data.sizes.train=null"], ["data.sizes", "numbers"]),
        ([*REAL, "data=pubmedqa", "data.files.test=[]"], ["data.split=test_ids", "lists of test ids"]),
        ([*REAL, "data=pubmedqa", "data.files.dev=[x]"], ["data.split=test_ids", "data.files.dev"]),
        ([*REAL, "data=pubmedqa", "data.sizes.dev=null"], ["data.sizes.dev", "number"]),
        ([*REAL, "data=jsonl"], ["data.files", "data.files.train=[FILE]"]),
        ([*REAL, "data.files.test=[]"], ["data.split=official", "data.files.test", "data.split=seeded"]),
        ([*REAL, "data.split=seeded"], ["data.split=seeded", "data.sizes.dev", "data.sizes.test"]),
        (["data.language=fr"], ["data.language=fr", "en or zh"]),
        (["data.world.noise_min=6"], ["data.world.noise_min=6", "data.world.noise_max"]),
        (["data.world.treatment=0"], ["data.world.diagnosis", "share"]),
        ([*REAL, "teacher=oracle"], ["teacher=oracle", "data=medqa", "teacher=recorded"]),
        ([*REAL, "teacher.files=[]"], ["teacher.files", "teacher.format"]),
        ([*REAL, "teacher.chain=thought"], ["teacher.chain='thought'", "response or complex_cot"]),
        ([*REAL, "template=two_level_en"], ["template.level=both", "template=detailed_en"]),
        ([*REAL, "template.level=outline"], ["template.level=outline", "template.level=detailed"]),
        ([*REAL, "sft.synthetic_corrections=0.5"], ["sft.synthetic_corrections=0.5", "set it to 0"]),
        (["student.architecture=null"], ["student.architecture", "student=tiny"]),
        (["student.source=/a/model"], ["student.source=/a/model", "student=tiny", "student=smollm2_135m"]),
        (["student.architecture.hidden_size=100"], ["hidden_size=100", "num_heads=4"]),
        ([*REAL, "student=tiny"], ["student=tiny", "data=medqa", "student=smollm2_135m"]),
        ([*REAL, "student.source=''"], ["student.source", "Hugging Face id"]),
        ([*REAL, "sft=scratch"], ["sft.learning_rate=0.004", "sft=pretrained"]),
        ([*REAL, "dpo=scratch"], ["dpo.learning_rate=0.0048", "dpo=pretrained"]),
        (["sft.steps=5"], ["sft.epochs=20", "sft.steps=5", "exactly one"]),
        (["dpo.steps=null"], ["dpo.epochs=None", "dpo.steps=None", "exactly one"]),
        (["dpo.warmup_steps=80"], ["dpo.warmup_steps=80", "dpo.steps=75"]),
        (["evaluation.split=train"], ["evaluation.split=train", "dev or test"]),
        (["evaluation.split=dev", "data.sizes.dev=0"], ["evaluation.split=dev", "data.sizes.dev"]),
        (["data.sizes.train=100"], ["sft.templates=120", "data.sizes.train=100"]),
        (["data.sizes.train=240"], ["data.sizes.train=240", "the 240 of sft.templates"]),
        (["report.baseline=dpo"], ["report.baseline=dpo", "base, sft, dpo_self"]),
        ([*REAL, "teacher.format=mmlu_csv"], ["teacher.format=mmlu_csv", "huatuo_json, cmexam_csv, jsonl"]),
        ([*REAL, "teacher.format=cmexam_csv"], ["teacher.chain='response'", "choose explanation"]),
        ([*ASKED, "sft.synthetic_corrections=0.5"], ["sft.synthetic_corrections=0.5", "teacher=oracle"]),
        ([*ASKED, "teacher.engine.model=''"], ["teacher.engine.model is empty"]),
        ([*ASKED, "teacher.engine.url=''"], ["teacher.engine.url must be", "http://127.0.0.1:8000/v1"]),
        ([*ASKED, "teacher.engine.url=https://me:pass@host/v1"], ["teacher.engine.url holds more", "api_key_env"]),
        ([*ASKED, "teacher.sampling.temperature=0"], ["teacher.attempts=3", "temperature"]),
        ([*ASKED, "teacher.sampling=null"], ["teacher.sampling", "teacher=engine"]),
        ([*ASKED, "teacher.max_characters=10"], ["teacher.max_characters=10", "min_characters=40"]),
        ([*ASKED, "template.teach=''"], ["template.teach is empty", "template=two_level_en"]),
        ([*ASKED, "template.teach_gold=''", "teacher.show_gold=true"], ["template.teach_gold is empty"]),
        ([*ASKED, "template.teach_level=outline"], ["template.level=both", "template.teach_level=outline"]),
        ([*ASKED, "engine@teacher.engine=vllm"], ["teacher.engine.kind=managed", "cluster.isolate=true"]),
        (["engine=vllm"], ["student=tiny", "engine=embedded"]),
        ([*REAL, "engine=vllm"], ["engine.kind=managed", "cluster.isolate=true", "trainer.accelerator=cpu"]),
        (
            [*REAL, "engine=server", "engine.url=http://h/v1"],
            ["engine=server", "engine=vllm", "engine.serves_checkpoint"],
        ),
        ([*REAL, *CPU, "engine=vllm", "engine.model=x"], ["engine.model=x", "leave it empty"]),
        ([*REAL, *CPU, "engine=vllm", "engine.command=[vllm]"], ["engine.command must hold {port}", "{model}"]),
        ([*REAL, *CPU, "engine=vllm", "engine.health=health"], ["engine.health='health'", "/health"]),
        (["teacher.engine=${engine}"], ["teacher.engine", "must be null", "oracle"]),
        (["verifier=judge"], ["verifier.judge.engine.model is empty", "Qwen/QwQ-32B"]),
        (["verifier.kind=judge"], ["verifier.judge must be set", "kind=judge"]),
        ([*JUDGED, "verifier.kind=exact"], ["verifier.judge must be", "null for exact"]),
        ([*JUDGED, "engine@verifier.judge.engine=server"], ["verifier.judge.engine.url must be"]),
        ([*JUDGED, "verifier.judge.prompt='{question} {reply}'"], ["verifier.judge.prompt=", "{gold} and {question}"]),
        (["report=priced"], ["report.prices.teacher.prompt has no value"]),
        ([*PRICED, "report.prices.student.completion=-1"], ["report.prices.student.completion=-1", "at least 0"]),
        (["paths.store=''"], ["paths.store", "MEDCRITICAL_STORE"]),
        (["arm=rejection_sft_tokens"], ["arms.rejection_sft_tokens.match=tokens", "arm=[dpo_self,"]),
        ([TOKENS, "arms.rejection_sft_tokens.against=rejection_sft_tokens"], ["against", "another arm"]),
        (
            [
                "arm=[dpo_self,rejection_sft_tokens,rejection_sft_seconds]",
                "arms.rejection_sft_seconds.against=rejection_sft_tokens",
            ],
            ["arms.rejection_sft_seconds.against=rejection_sft_tokens", "match=steps"],
        ),
        (
            ["arm=[sft_continued,rejection_sft_tokens]", "arms.rejection_sft_tokens.against=sft_continued"],
            ["arms.rejection_sft_tokens.against=sft_continued", "method=selfplay"],
        ),
        (
            ["arm=[dpo_self,rejection_sft_seconds]"],
            ["arms.rejection_sft_seconds", "cluster.workers=null", "workers=1."],
        ),
        (["compare.at=seconds", "cluster.workers=2"], ["arms.dpo_samples", "cluster.workers=2", "cluster.workers=1."]),
        ([TOKENS, "selfplay=gated"], ["selfplay.gate", "arms.rejection_sft_tokens.match=tokens", "by steps"]),
        (["compare.at=tokens", "compare.arm=none"], ["compare.at=tokens needs compare.arm=none", "arm=[none,"]),
        (["compare.at=tokens", "compare.arm=sft_continued"], ["compare.arm=sft_continued plays no self-play"]),
        (
            ["experiments=official", "data.sizes.train=3000"],
            ["data.sizes.train=3000 leaves no question", "the 3000 of"],
        ),
        (
            ["arm=[dpo_self,dpo_samples]", "compare.at=student_tokens", "selfplay=uniform"],
            ["compare.at=student_tokens needs a budget", "selfplay.allocation=adaptive"],
        ),
        (
            ["arm=[dpo_self,dpo_teacher]", "compare.at=student_tokens", "compare.arm=dpo_teacher"],
            ["compare.arm=dpo_teacher never retries", "arms.dpo_teacher.retry"],
        ),
        (
            ["arm=[dpo_self,sft_continued]", "compare.at=student_tokens"],
            ["compare.at=student_tokens is about play", "arms.sft_continued.match=tokens"],
        ),
        (["arms.sft_continued.retry=[resample]"], ["arms.sft_continued.retry", "method=continued_sft plays none"]),
        (["arm=majority_vote", "arms.majority_vote.match=steps"], ["arms.majority_vote.match=steps", "null"]),
        (["arms.dpo_self.chosen=teacher"], ["arms.dpo_self.retry=['correction']", "chosen=teacher"]),
        (["arm=dpo_eliminate", "selfplay=uniform"], ["retry=['eliminate']", "selfplay.allocation=adaptive"]),
        (["arm=dpo_mix", "selfplay=uniform"], ["retry=['resample', 'step']", "selfplay.allocation=adaptive"]),
        (["arm=dpo_step"], ["arms.dpo_step.retry holds step", "sft.correction_form=both"]),
        (["arm=dpo_step", "template.level=outline"], ["template.step_correction", "at level outline"]),
        (["dpo.label_smoothing=0.1"], ["dpo.label_smoothing=0.1", "dpo.loss=sigmoid", "conservative and robust"]),
        (["dpo.loss=robust"], ["dpo.label_smoothing=0 ", "dpo.loss=robust"]),
        (["dpo.loss=dpo_positive"], ["dpo.positive_weight must be set", "e.g. 50"]),
        (["dpo.positive_weight=5"], ["dpo.positive_weight", "null otherwise", "sigmoid"]),
        (["selfplay.betas=[0.1,0]"], ["selfplay.betas=[0.1, 0.0]", "greater than 0"]),
        (["selfplay.betas=[1,2,3]"], ["selfplay.betas has 3 values", "selfplay.iterations=2"]),
        ([*REAL, "selfplay.learning_rates=[0.1]"], ["selfplay.learning_rates=[0.1]", "0.002"]),
        ([*REAL, "selfplay.right_by=soundness"], ["selfplay.right_by=soundness", "data=medqa"]),
        (["selfplay.corrector=trained", "dpo.nll_weight=0"], ["dpo.nll_weight=0", "selfplay.corrector=current"]),
        (["arm=dpo_samples", "selfplay.corrector=trained"], ["selfplay.corrector=trained", "retry=[correction]"]),
        (["selfplay=gated", "data.sizes.dev=0"], ["selfplay.gate", "data.sizes.dev=0"]),
        (
            [*REAL, "selfplay=gated", "data.files.dev=[]"],
            ["selfplay.gate needs dev questions", "data.files.dev is empty"],
        ),
        ([*REAL, "evaluation.split=dev", "data.files.dev=[]"], ["evaluation.split=dev", "data.files.dev is empty"]),
        (["experiment.row=none"], ["experiment.row=none", "base, sft, dpo_self"]),
        (["experiment.fidelity=exact"], ["experiment.fidelity=exact", "official, paper, corrected"]),
        (["sft.warmup_share=0.1"], ["sft.warmup_steps=20", "sft.warmup_share=0.1", "to 0"]),
        (["evaluation.prompt='answer {q}'"], ["evaluation.prompt=", "{question}"]),
        (["baseline=any", "baselines.any.student.source=''"], ["baselines.any.student", "Hugging Face id"]),
        (
            ["baseline=taiyi", "baselines.taiyi.template.attempt=x"],
            ["baselines.taiyi.template.attempt='x'", "{question}"],
        ),
        (["arms.sft_continued.objective=dpo"], ["arms.sft_continued.objective=dpo", "nll"]),
        (
            [
                "arms.sft={title: x, method: selfplay, chosen: student, retry: [], objective: nll, match: null, against: ''}"
            ],
            ["arms.sft", "another name"],
        ),
    ],
)
def test_contradictions(overrides: list[str], said: list[str]) -> None:
    message = refusal(*overrides)
    assert all(part in message for part in said), message


@pytest.mark.parametrize(
    ("field", "text", "wanted"),
    [
        ("question", "{stem}", "{options} and {stem}"),
        ("option", "{letter} {text} {more}", "{letter} and {text}"),
        ("attempt", "no question", "{question}"),
        ("correction", "{question}", "{attempt} and {question}"),
        ("outline", "<plan>{outline!r}</plan>", "{outline}"),
        ("chain", "<think>{chain} {chain}</think>", "{chain}"),
        ("answer", "<answer>{answer:>9}</answer>", "{answer}"),
        ("answer", "<answer>{}</answer>", "{answer}"),
        ("insight", "<error>{insight.text}</error>", "{insight}"),
        ("teach", "why?", "{question}"),
        ("teach_correction", "{question}", "{attempt} and {question}"),
        ("teach_gold", "{gold}", "{answer}"),
    ],
)
def test_placeholders(field: str, text: str, wanted: str) -> None:
    message = refusal(f'template.{field}="{text}"')
    assert message.startswith(f"template.{field}={text!r} must contain {wanted}")


def test_a_key_in_place_of_its_name_is_refused_and_not_repeated() -> None:
    message = refusal(*ASKED, "teacher.engine.api_key_env=sk-123-secret")
    assert "teacher.engine.api_key_env must be the NAME" in message
    assert "secret" not in message


def test_engines_that_are_allowed() -> None:
    server = configure(*REAL, "engine=server", "engine.url=http://h:1/v1", "engine.serves_checkpoint=true")
    assert server.engine.url == "http://h:1/v1"
    isolated = configure(*ASKED, "engine@teacher.engine=vllm", "engine=transformers_serve", "cluster.isolate=true")
    assert isolated.teacher.engine is not None
    assert isolated.teacher.engine.command[0] == "vllm"
    # Corrections of several attempts at a question share its prompt.
    assert "--enable-prefix-caching" in isolated.teacher.engine.command
    assert isolated.teacher.engine.timeout == 1800


def test_own_traces_may_have_outlines() -> None:
    own = ["teacher.format=jsonl", "teacher.chain=chain", "template=two_level_en"]
    assert configure(*REAL, *own).template.level.value == "both"


def test_a_lone_brace_is_no_format_text() -> None:
    message = refusal('template.answer="<answer>{answer}</answer> }"')
    assert "template.answer" in message
    assert "{{ and }}" in message


def test_official_medqa_and_a_seeded_split_of_one_file_are_both_allowed() -> None:
    assert configure(*REAL).data.files.train
    assert configure(*REAL_SEEDED).data.sizes.test == 5


def test_plain_values_have_no_enums_and_no_dataclasses() -> None:
    def kinds(value: object) -> set[type]:
        if isinstance(value, dict):
            return {dict}.union(*map(kinds, value.values()))
        return {list}.union(*map(kinds, value)) if isinstance(value, list) else {type(value)}

    assert kinds(to_plain(configure())) <= {dict, list, str, int, float, bool, type(None)}


def test_every_key_of_the_schema_is_given_by_conf() -> None:
    """The defaults and the real-data options together show every key, optional groups included."""

    def names(value: object, prefix: str = "") -> set[str]:
        if not isinstance(value, dict):
            return set()
        return set().union(*({f"{prefix}{name}"} | names(item, f"{prefix}{name}.") for name, item in value.items()))

    composed = [(), ("selfplay=gated", "arm=dpo_self"), REAL, ASKED, (*JUDGED, *PRICED)]
    composed.append(("sweep=study", "evaluation.split=dev"))
    given = set().union(*(names(to_plain(configure(*overrides))) for overrides in composed))
    assert set(all_keys()) - given == set()
    assert len(all_keys()) > 100


def test_range_faults_reach_into_arms_and_groups() -> None:
    config: Config = configure()
    config.data.world.noise_min = -1  # type: ignore[union-attr]
    config.selfplay.beta = math.inf
    assert [fault.split("=")[0] for fault in range_faults(config)] == ["data.world.noise_min", "selfplay.beta"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["sweep.on_error=ignore"], "sweep.on_error=ignore is not allowed: choose stop or continue."),
        (["sweep.failed=forget"], "sweep.failed=forget is not allowed: choose retry or keep."),
        (["sweep=study"], "sweep.study chooses by what evaluation.split=test scores"),
        (
            [
                "sweep=study",
                "evaluation.split=dev",
                "cluster=torchrun",
                "cluster.nnodes=2",
                "cluster.rdzv_endpoint=h:1",
            ],
            "sweep.study asks on one machine, but cluster=torchrun with cluster.nnodes=2 takes a command on each",
        ),
        (["data.sizes.train=1000"], "selfplay.questions=800 is more than the 760 train questions"),
        (["evaluation.max_new_tokens=256"], "evaluation.max_new_tokens=256 does not fit beside a prompt"),
        (["generation.max_new_tokens=256"], "generation.max_new_tokens=256 does not fit beside a prompt"),
        (
            ["student.architecture.max_position_embeddings=64"],
            "generation.correction_max_new_tokens=64 does not fit beside a prompt into "
            "student.architecture.max_position_embeddings=64",
        ),
    ],
)
def test_what_could_only_fail_or_mislead_later_is_refused_before(overrides: list[str], said: str) -> None:
    assert refusal(*overrides).startswith(said)


def test_ranges_of_a_study_are_checked() -> None:
    config: Config = configure("sweep=study", "evaluation.split=dev")
    assert config.sweep.study is not None
    span = config.sweep.study.space["selfplay.beta"]
    span.low = -1.0
    assert list(contradictions(config)) == [
        "sweep.study.space.selfplay.beta: low=-1 has no logarithm: set log: false, or low above 0."
    ]
    span.low = 2.0
    assert [fault.split(":")[1] for fault in contradictions(config)] == [" low=2 is not less than high=1."]
    config.sweep.study.space = {}
    assert "sweep.study.space is empty" in next(contradictions(config))
