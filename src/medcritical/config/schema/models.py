"""Student and teacher: which models, who runs them, what they are asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from medcritical.config.choices import (
    AnswerForm,
    DataFormat,
    EngineKind,
    OnError,
    StudentKind,
    TeacherKind,
    TemplateLevel,
)
from medcritical.config.fields import key


@dataclass
class EngineConfig:
    """What turns prompts into responses: this process, or an OpenAI-compatible chat server."""

    kind: EngineKind = key("embedded, server or managed")
    model: str = key("teacher: model id or folder, as the server knows it; student: empty, its checkpoint is the model")
    url: str = key("server: its API root, e.g. http://host:8000/v1; else empty", semantic=False)
    serves_checkpoint: bool = key(
        "what you vouch for: the server loads whatever folder of this machine a request names as its model",
        semantic=False,
    )
    api_key_env: str = key("NAME of the environment variable that holds the API key; empty for none", semantic=False)
    command: list[str] = key("managed: what starts the server; {model}, {host}, {port} and {revision} are filled in")
    gpus: int = key(
        "managed: GPUs that one server gets, {gpus} in its command; of a machine's ranks one in so many starts a server",
        semantic=False,
        ge=1,
    )
    health: str = key("managed: path that answers 200 when the server is ready", semantic=False)
    start_timeout: float = key("managed: seconds until it must be ready", semantic=False, gt=0)
    concurrency: int = key("requests on their way at a time", semantic=False, ge=1)
    samples_per_request: int = key(
        "most choices asked for in one request; 1 for a server without n", semantic=False, ge=1
    )
    extra: dict[str, Any] = key("fields of the server's own that every request carries, e.g. {top_k: 20}")
    timeout: float = key("seconds that one request may take", semantic=False, gt=0)
    retries: int = key("times that a failed request is sent again", semantic=False, ge=0)
    backoff: float = key("seconds before the first of them, doubled with each, with jitter", semantic=False, gt=0)
    keep_every: int = key(
        "responses of one process after which they are kept on disk, for a stage that has to start again; ranks wait for "
        "each other as often",
        semantic=False,
        ge=1,
    )
    revision: str = key(
        "asked model from the hub: branch, tag or commit; empty: main. Resolved to a commit; managed: {revision} in its command, "
        "or a local snapshot"
    )


@dataclass
class TeacherSamplingConfig:
    """How a teacher that is asked draws its answers."""

    temperature: float = key("softmax temperature; 0 is greedy", ge=0, le=5)
    top_p: float = key("nucleus mass", gt=0, le=1)
    max_new_tokens: int = key("longest answer, tokens", ge=1)
    stop: list[str] = key("texts that end an answer before they are written")
    batch_tokens: int = key(
        "embedded teacher: tokens, prompts and longest answers, decoded together", semantic=False, ge=1
    )


@dataclass
class TeacherConfig:
    """Who writes thought templates and corrections."""

    name: str = key("teacher name in messages", semantic=False)
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
    seed: int = key("what a teacher draws: synthetic errors, which traces are taken, samples", ge=0)


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

    name: str = key("student name in messages", semantic=False)
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

    name: str = key("template name in tables and messages", semantic=False)
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
