"""The typed schema of the whole configuration, one dataclass per Hydra group.

Plain dataclasses (OmegaConf cannot freeze nested ones); nobody changes a config after loading.
Closed choices are enums (choices.py). A group that may be absent is Optional and null in YAML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from medcritical.config.choices import (
    Accelerator,
    Allocation,
    AnswerForm,
    Batching,
    Chosen,
    ClusterKind,
    CorrectionForm,
    Corrector,
    DataFormat,
    EngineKind,
    Fallback,
    Length,
    Loss,
    Match,
    Method,
    Objective,
    OnError,
    Precision,
    Reference,
    Replay,
    Retry,
    RightBy,
    Schedule,
    SplitRule,
    Start,
    StrategyKind,
    StudentKind,
    TeacherKind,
    TemplateLevel,
    VerifierKind,
    WandbMode,
)
from medcritical.config.fields import key


@dataclass
class WorldConfig:
    """Size and difficulty of the synthetic clinic."""

    name: str = key("name in tables")
    diagnosis: float = key("share of questions that ask for the diagnosis", ge=0, le=1)
    test: float = key("share that ask for the test", ge=0, le=1)
    treatment: float = key("share that ask for the treatment", ge=0, le=1)
    options: int = key("options per question", ge=2, le=8)
    hallmark_shown: float = key("probability that a hallmark finding is shown", gt=0, le=1)
    noise_min: int = key("fewest findings that do not belong to the condition", ge=0, le=6)
    noise_max: int = key("most findings that do not belong to the condition", ge=0, le=6)
    posterior_min: float = key("least naive-Bayes posterior of the true condition", gt=0, lt=1)


@dataclass
class DataFiles:
    """Files per split; what they mean is said by `data.split`."""

    train: list[str] = key("files of the train split")
    dev: list[str] = key("files of the dev split")
    test: list[str] = key("files of the test split")


@dataclass
class SplitSizes:
    """Questions per split. null: all there are (train: all that dev and test leave)."""

    train: Optional[int] = key("questions to learn from", ge=1)
    dev: Optional[int] = key("questions for choices made while training", ge=0)
    test: Optional[int] = key("held-out questions", ge=1)


@dataclass
class DataConfig:
    """Questions: where they come from and how they are split."""

    name: str = key("data set name in tables")
    format: DataFormat = key("upstream format")
    language: str = key("en or zh")
    files: DataFiles = key("files per split; empty for the clinic")
    encoding: str = key("text encoding of the files; utf-8 also accepts a byte order mark")
    split: SplitRule = key("official files, official test ids, or a seeded re-split")
    sizes: SplitSizes = key("questions per split")
    seed: int = key("seed of the split, or of the clinic's questions", ge=0)
    on_error: OnError = key("what a bad row does")
    contamination: Optional[float] = key(
        "Jaccard similarity to a train question from which a held-out one is flagged as its copy; null: no search",
        gt=0,
        le=1,
    )
    shuffle_options: bool = key(
        "put the options of every question in an order drawn by `seed`; letters in texts follow"
    )
    world: Optional[WorldConfig] = key("the clinic's world; null for files")


@dataclass
class EngineConfig:
    """What turns prompts into responses: this process, or an OpenAI-compatible chat server."""

    kind: EngineKind = key("embedded, server or managed")
    model: str = key("teacher: model id or folder, as the server knows it; student: empty, its checkpoint is the model")
    url: str = key("server: its API root, e.g. http://host:8000/v1; else empty", machine=True)
    serves_checkpoint: bool = key(
        "what you vouch for: the server loads whatever folder of this machine a request names as its model",
        machine=True,
    )
    api_key_env: str = key("NAME of the environment variable that holds the API key; empty for none", machine=True)
    command: list[str] = key("managed: what starts the server; {model}, {host} and {port} are filled in")
    gpus: int = key(
        "managed: GPUs that one server gets, {gpus} in its command; of a machine's ranks one in so many starts a server",
        machine=True,
        ge=1,
    )
    health: str = key("managed: path that answers 200 when the server is ready", machine=True)
    start_timeout: float = key("managed: seconds until it must be ready", machine=True, gt=0)
    concurrency: int = key("requests on their way at a time", machine=True, ge=1)
    samples_per_request: int = key(
        "most choices asked for in one request; 1 for a server without n", machine=True, ge=1
    )
    extra: dict[str, Any] = key("fields of the server's own that every request carries, e.g. {top_k: 20}")
    timeout: float = key("seconds that one request may take", machine=True, gt=0)
    retries: int = key("times that a failed request is sent again", machine=True, ge=0)
    backoff: float = key("seconds before the first of them, doubled with each, with jitter", machine=True, gt=0)
    keep_every: int = key(
        "responses of one process after which they are kept on disk, for a stage that has to start again; ranks wait for "
        "each other as often",
        machine=True,
        ge=1,
    )


@dataclass
class TeacherSamplingConfig:
    """How a teacher that is asked draws its answers."""

    temperature: float = key("softmax temperature; 0 is greedy", ge=0, le=5)
    top_p: float = key("nucleus mass", gt=0, le=1)
    max_new_tokens: int = key("longest answer, tokens", ge=1)
    stop: list[str] = key("texts that end an answer before they are written")
    batch_tokens: int = key("embedded teacher: tokens, prompts and longest answers, decoded together", ge=1)


@dataclass
class TeacherConfig:
    """Who writes thought templates and corrections."""

    name: str = key("teacher name in tables")
    kind: TeacherKind = key("oracle, recorded or engine")
    engine: Optional[EngineConfig] = key("who is asked; null unless kind is engine")
    sampling: Optional[TeacherSamplingConfig] = key("how it answers; null unless kind is engine")
    attempts: int = key("most times that a teacher is asked one question, until a template is kept", ge=1)
    head_cut: bool = key(
        "published flaw: as many characters as the prompt has are cut from the head of a longer answer"
    )
    show_gold: bool = key("show the right answer to a teacher that is asked, as the paper's published code does")
    chat_template: bool = key(
        "ask in the teacher's chat template; false, a published flaw: the bare text, no system message"
    )
    checked: bool = key(
        "keep only right answers in form, length and language; false, a published flaw: the first answer, whatever it is"
    )
    min_characters: int = key("shortest thought kept, characters of outline and chain; not for the oracle", ge=0)
    max_characters: Optional[int] = key("longest thought kept, characters; null: any; not for the oracle", ge=1)
    files: list[str] = key("trace files of a recorded teacher")
    format: Optional[DataFormat] = key("format of the trace files; null unless kind is recorded")
    chain: str = key("field of a trace that holds the chain: response, complex_cot, explanation or chain")
    language: str = key("language of the traces: en or zh")
    encoding: str = key("text encoding of the trace files")
    on_error: OnError = key("what a bad row does")


@dataclass
class ArchitectureConfig:
    """Shape of a student trained from scratch (Llama, tied embeddings)."""

    hidden_size: int = key("width", ge=8)
    num_layers: int = key("transformer layers", ge=1)
    num_heads: int = key("attention heads", ge=1)
    intermediate_size: int = key("feed-forward width", ge=8)
    max_position_embeddings: int = key("longest sequence, tokens", ge=64)
    initializer_range: float = key("standard deviation of the initial weights", gt=0, lt=1)


@dataclass
class LoraConfig:
    """Low-rank adapters (peft). null trains all weights."""

    rank: int = key("rank r", ge=1)
    alpha: int = key("scale numerator; the update is scaled by alpha / rank", ge=1)
    targets: str = key("peft target modules, e.g. all-linear")


@dataclass
class StudentConfig:
    """The model that is trained."""

    name: str = key("student name in tables")
    kind: StudentKind = key("scratch or pretrained")
    source: str = key("Hugging Face id, local folder, or package:NAME/FILE.gguf; empty for scratch")
    revision: str = key("revision of a Hugging Face id; empty for the default branch")
    trust_remote_code: bool = key("run code that comes with the model; leave false unless you have read it")
    architecture: Optional[ArchitectureConfig] = key("shape of a scratch student")
    lora: Optional[LoraConfig] = key("adapters; null trains all weights")


@dataclass
class TemplateConfig:
    """Every text the program writes around data: prompts, the response format, the correction format.

    {placeholders} are filled once; text from data can never add a placeholder or close a tag.
    """

    name: str = key("what the template is called; part of the artefacts' keys")
    level: TemplateLevel = key("parts of the thought that are taught")
    answer_as: AnswerForm = key("answer by option text or by letter")
    system: str = key("system message; empty for none")
    question: str = key("{stem} and {options}")
    option: str = key("{letter} and {text}")
    option_separator: str = key("between options")
    attempt: str = key("{question}: what the student is asked")
    correction: str = key("{question} and {attempt}: what the corrector is asked")
    step: str = key("{number}: what a detailed step begins with; how the step where an attempt goes wrong is found")
    step_correction: str = key("{question} and {attempt}: asks for the chain from the faulty step on; or empty")
    outline: str = key("{outline}")
    outline_separator: str = key("between outline steps")
    chain: str = key("{chain}")
    chain_separator: str = key("between detailed steps")
    answer: str = key("{answer}")
    part_separator: str = key("between outline, chain and answer")
    teach_level: TemplateLevel = key("parts that a teacher is asked to write, at least those of level")
    teach: str = key("{question}: what a teacher is asked for a template; empty where none can be asked")
    teach_correction: str = key("{question} and {attempt}: what a teacher is asked about a wrong attempt; or empty")
    teach_gold: str = key("{answer}: put after either with teacher.show_gold; or empty")
    insight: str = key("{insight}: where and why the attempt went wrong, before the new response")
    wrong_answer: str = key("{answer}: insight used when a teacher cannot locate the error")


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

    at: Match = key("optimizer steps, trained tokens, or seconds of training")
    arm: str = key("the arm that the others are matched to")


@dataclass
class BaselineConfig:
    """A published model that is only evaluated, with the prompt and the answer format of its own."""

    title: str = key("row name in tables")
    student: StudentConfig = key("where the model comes from")
    template: TemplateConfig = key("its prompt and answer format")
    temperature: float = key("softmax temperature; 0 is greedy", ge=0, le=5)
    top_p: float = key("nucleus mass", gt=0, le=1)
    max_new_tokens: int = key("longest answer, tokens", ge=1)
    published: Optional[float] = key("published accuracy, percent; null: none known", ge=0, le=100)
    source: str = key("where that was published, and on what")


@dataclass
class ExperimentConfig:
    """What an overlay from experiments/ says of itself."""

    fidelity: str = key("official (the published code), paper (its text) or corrected (their flaws mended)")
    command: str = key("what runs it")
    row: str = key("the row of the table that it is about; empty for none")
    published: Optional[float] = key("published accuracy of that row, percent; null: none", ge=0, le=100)
    source: str = key("where that was published, and on what")


@dataclass
class GenerationConfig:
    """Sampling of attempts and corrections."""

    temperature: float = key("softmax temperature of attempts", gt=0, le=5)
    top_p: float = key("nucleus mass", gt=0, le=1)
    max_new_tokens: int = key("longest response, tokens", ge=1)
    correction_max_new_tokens: int = key("longest correction, tokens", ge=1)
    batch_tokens: int = key("embedded engine: tokens, prompts and longest responses, decoded together", ge=1)


@dataclass
class JudgeConfig:
    """An LLM that is limited to one decision about an answer: 1 for right, 2 for wrong."""

    name: str = key("judge name in tables")
    engine: EngineConfig = key("who is asked; its model must be named")
    system: str = key("system message; empty for none")
    prompt: str = key("{question}, {gold} and {reply}: what the judge is asked, with 1 and 2 as the only answers")
    max_new_tokens: int = key("longest decision, tokens; one that thinks first needs room for it", ge=1)
    only_digits: bool = key("published flaw: one token, 1 or 2, is all that the judge can write, so it cannot think")
    batch_tokens: int = key("embedded judge: tokens, prompts and longest decisions, decoded together", ge=1)


@dataclass
class VerifierConfig:
    """Who decides whether an attempt is right, in self-play and in evaluation."""

    kind: VerifierKind = key("exact or judge")
    judge: Optional[JudgeConfig] = key("the judge; null for exact")


@dataclass
class EvaluationConfig:
    """Greedy accuracy on held-out questions."""

    split: str = key("dev or test")
    questions: Optional[int] = key("questions scored; null: all", ge=1)
    confidence: float = key("level of the Wilson interval", gt=0, lt=1)
    base: bool = key("also score the student before any training")
    sft: bool = key("also score the student after stage 1; without arms, false leaves stage 1 out")
    temperature: float = key("softmax temperature; 0 is greedy", ge=0, le=5)
    top_p: float = key("nucleus mass, where the temperature is not 0", gt=0, le=1)
    max_new_tokens: Optional[int] = key("longest answer, tokens; null: generation.max_new_tokens", ge=1)
    prompt: str = key("{question}: what is asked at test instead of template.attempt; empty: the same as in training")
    chat_template: bool = key(
        "ask in the model's chat template; false, a published flaw: the bare text, no system message"
    )
    count_undecided: bool = key(
        "questions that the judge left undecided count as not right; false, a published flaw: not at all"
    )
    votes: int = key("samples that method majority_vote counts, drawn as generation says", ge=2)
    explanation: bool = key("also compare explanations with those of the data set: BLEU and ROUGE")
    permutations: int = key("orders of its options in which every question is asked; 1: as given", ge=1, le=24)


@dataclass
class TrainerConfig:
    """The machine's side of training; no key here changes what is computed but `precision`."""

    accelerator: Accelerator = key("where the model is")
    precision: Precision = key("numbers of the forward pass")
    threads: Optional[int] = key("CPU threads of one worker; null: torch's choice", ge=1)
    batching: Batching = key("layout of a forward pass: packed does the least work; padded runs any architecture")
    micro_batch_tokens: int = key(
        "packed: tokens per forward pass, shared prompts counted once; the batch is accumulated from these. A single pair "
        "may be longer",
        ge=1,
    )
    micro_batch_size: int = key("padded: examples per forward pass; the batch is accumulated from these", ge=1)
    gradient_checkpointing: bool = key("compute activations again in the backward pass: less memory, a third slower")
    log_every_n_steps: int = key("optimizer steps between logged metrics", ge=1)
    checkpoint_every_steps: Optional[int] = key(
        "optimizer steps between checkpoints to go on from; null: only when told to stop", ge=1
    )
    time_limit: Optional[float] = key(
        "seconds after the command's start by which a training has saved its state and stopped; null: none", gt=0
    )
    records_per_file: int = key(
        "records of an artefact from which on they are cut into compressed files of so many", ge=1
    )


@dataclass
class StrategyConfig:
    """How training is spread over devices."""

    kind: StrategyKind = key("auto, ddp, zero1, zero2, zero3, zero2_offload or zero3_offload")


@dataclass
class StudyRange:
    """Where a study looks for the value of one key."""

    low: float = key("least value")
    high: float = key("greatest value")
    log: bool = key("look on a logarithmic scale")


@dataclass
class StudyConfig:
    """An Optuna study over cells. It maximises the accuracy that the first arm ends at, on the dev questions."""

    trials: int = key("cells that are asked for in all", ge=1)
    batch: int = key("cells asked for before any of them is told; for launchers that run several at a time", ge=1)
    seed: int = key("seed of the sampler", ge=0)
    space: dict[str, StudyRange] = key("range by configuration key")


@dataclass
class SweepConfig:
    """How the cells of a sweep are run. Nothing here changes what a cell computes."""

    on_error: str = key("stop or continue: what a failed cell means for those that have not started")
    failed: str = key("retry or keep: what the next launch does with cells that failed")
    study: Optional[StudyConfig] = key("who asks for cells; null: the grid that the overrides span")


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
        "play, evaluate and a teacher that is not a running server on all ranks, like trainings; false: in one process"
    )
    max_restarts: int = key("times that a stage starts again, from what it has kept, after a rank died", ge=0)
    timeout_seconds: float = key("longest that a rank waits for the others before it gives up", gt=0)

    @property
    def world_size(self) -> int:
        """Ranks of all machines together."""
        return self.nproc_per_node * self.nnodes


@dataclass
class LoggerConfig:
    """Where metrics go besides the JSONL that is always written."""

    wandb: WandbMode = key("Weights & Biases")
    project: str = key("W&B project")
    entity: str = key("W&B entity; empty for the default")
    tags: list[str] = key("W&B tags")
    samples: int = key(
        "corrections per arm and iteration in W&B's table of samples; 0: no text leaves the machine", ge=0
    )
    system_seconds: float = key("between two looks at processor, memory and GPU while stages run; 0: none", ge=0)


@dataclass
class TokenPrice:
    """What a million tokens cost."""

    prompt: float = key("read", ge=0)
    completion: float = key("written", ge=0)


@dataclass
class PricesConfig:
    """What the models' tokens cost. A model of one's own costs its machine: put in what that comes to."""

    currency: str = key("name of the currency in tables")
    teacher: TokenPrice = key("per million tokens")
    student: TokenPrice = key("per million tokens")
    judge: TokenPrice = key("per million tokens")


@dataclass
class ReportConfig:
    """Tables and figures."""

    baseline: str = key("arm that differences are taken to")
    bootstrap: int = key("resamples of the paired bootstrap", ge=100)
    prices: Optional[PricesConfig] = key("prices of tokens; null: the ledger counts tokens and seconds alone")


@dataclass
class PathsConfig:
    """Folders."""

    store: str = key("artefacts, shared by all runs; MEDCRITICAL_STORE sets it")
    outputs: str = key("one folder per run, named by its configuration")
    data: str = key("folder of published data sets; MEDCRITICAL_DATA sets it")


@dataclass
class Config:
    """The whole configuration: what `medcritical --cfg job` prints."""

    name: str = key("run name, the first part of its output folder")
    seed: int = key("root of every random choice", ge=0)
    plan: bool = key("print what is done and what would run, then stop")
    paths: PathsConfig = key("folders")
    data: DataConfig = key("questions")
    teacher: TeacherConfig = key("thought templates")
    student: StudentConfig = key("model")
    template: TemplateConfig = key("prompts and formats")
    sft: SftConfig = key("stage 1")
    selfplay: SelfPlayConfig = key("stage 2")
    dpo: DpoConfig = key("preference loss")
    arms: dict[str, ArmConfig] = key("experiments that share this run")
    baselines: dict[str, BaselineConfig] = key("published models, evaluated on the same questions")
    compare: CompareConfig = key("what arms share")
    experiment: ExperimentConfig = key("what an overlay says of itself")
    engine: EngineConfig = key("who runs the student when it answers")
    generation: GenerationConfig = key("sampling")
    verifier: VerifierConfig = key("right or wrong")
    evaluation: EvaluationConfig = key("scoring")
    trainer: TrainerConfig = key("machine")
    strategy: StrategyConfig = key("spread over devices")
    cluster: ClusterConfig = key("where stages run")
    sweep: SweepConfig = key("how cells are run")
    logger: LoggerConfig = key("metrics")
    report: ReportConfig = key("tables and figures")
