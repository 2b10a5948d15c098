"""The closed choices of the configuration. A choice has a place in the code that acts on each of its values."""

from __future__ import annotations

from enum import Enum


class DataFormat(str, Enum):
    """Where questions come from: the procedural clinic, or files in an upstream format."""

    clinic = "clinic"
    cmexam_csv = "cmexam_csv"
    medqa_jsonl = "medqa_jsonl"
    medmcqa_jsonl = "medmcqa_jsonl"
    pubmedqa_json = "pubmedqa_json"
    huatuo_json = "huatuo_json"
    mmlu_csv = "mmlu_csv"
    sharegpt_json = "sharegpt_json"
    jsonl = "jsonl"

    @property
    def source(self) -> str:
        """What questions of this format name as where they come from, and their ids begin with: no label of the user's."""
        return self.value.removesuffix("_csv").removesuffix("_jsonl").removesuffix("_json")


class SplitRule(str, Enum):
    """official: each file belongs to the split it is listed under. test_ids: the files under test list the ids of the
    test questions, which are in the train files; dev is drawn from the rest by `data.seed`. seeded: all rows are re-split
    by `data.seed`."""

    official = "official"
    test_ids = "test_ids"
    seeded = "seeded"


class OnError(str, Enum):
    """reject: bad rows are left out and reported; fail: the first bad row stops the run."""

    reject = "reject"
    fail = "fail"


class TeacherKind(str, Enum):
    """oracle: the clinic's rules; recorded: traces from files; engine: a model that is asked."""

    oracle = "oracle"
    recorded = "recorded"
    engine = "engine"


class EngineKind(str, Enum):
    """embedded: transformers in this process; server: a running OpenAI-compatible server; managed: one that the stage
    starts and stops."""

    embedded = "embedded"
    server = "server"
    managed = "managed"


class StudentKind(str, Enum):
    """scratch: a small Llama with random weights; pretrained: Hugging Face id, folder, or packaged GGUF."""

    scratch = "scratch"
    pretrained = "pretrained"


class TemplateLevel(str, Enum):
    """Which parts of a thought the student is taught to write before the answer."""

    outline = "outline"
    detailed = "detailed"
    both = "both"
    none = "none"


class AnswerForm(str, Enum):
    """How the answer is written: the option's letter or its text."""

    letter = "letter"
    text = "text"


class Schedule(str, Enum):
    """Learning rate after warm-up, down to `final_rate` of its peak."""

    cosine = "cosine"
    linear = "linear"
    constant = "constant"


class Allocation(str, Enum):
    """uniform: the same number of attempts for every question; adaptive: what the budget leaves goes to unsolved ones."""

    uniform = "uniform"
    adaptive = "adaptive"


class Corrector(str, Enum):
    """Which checkpoint corrects wrong attempts: the frozen stage-1 model; the policy of this iteration; or that policy, with
    its verified corrections trained on beside the pairs (in the loop)."""

    sft = "sft"
    trained = "trained"
    current = "current"


class Reference(str, Enum):
    """Which frozen checkpoint is pi_ref: the policy at the iteration's start or the stage-1 model."""

    previous = "previous"
    sft = "sft"


class Fallback(str, Enum):
    """What is preferred to a wrong attempt whose corrections all failed: an own right sample, or the pair is dropped."""

    own = "own"
    drop = "drop"


class Method(str, Enum):
    """selfplay: play, pair, train; continued_sft: further training on the stage-1 templates (a control); majority_vote: the
    stage-1 model, asked `evaluation.votes` times (self-consistency, a control)."""

    selfplay = "selfplay"
    majority_vote = "majority_vote"
    continued_sft = "continued_sft"


class Retry(str, Enum):
    """What an unsolved question gets in a round: a correction of one of its wrong attempts, whole or from the step where it
    goes wrong; a new attempt; or a new attempt without the options that were tried in vain."""

    correction = "correction"
    step = "step"
    eliminate = "eliminate"
    resample = "resample"


class Chosen(str, Enum):
    """Who writes what is preferred: the student (own correction, else own right attempt); the teacher, correcting the wrong
    attempt; the teacher, thinking about the question; or nobody: the wrong attempt itself with its answer put right."""

    teacher = "teacher"
    thought = "thought"
    answer = "answer"
    student = "student"


class CorrectionForm(str, Enum):
    """How stage 1 teaches corrections: the whole response anew, from the faulty step on, or each one in both forms."""

    whole = "whole"
    step = "step"
    both = "both"


class RightBy(str, Enum):
    """What self-play takes for right: the answer, or answer and reasoning (where the data set can tell: the clinic)."""

    soundness = "soundness"
    answer = "answer"


class Start(str, Enum):
    """Which checkpoint an iteration trains on: the policy so far, or the stage-1 model again."""

    sft = "sft"
    previous = "previous"


class Replay(str, Enum):
    """Pairs of earlier iterations that are trained on again: none, those of the last `replay_iterations`, or all."""

    last_k = "last_k"
    all = "all"
    none = "none"


class Loss(str, Enum):
    """The preference loss; objectives/dpo.py has the equations."""

    sigmoid = "sigmoid"
    ipo = "ipo"
    hinge = "hinge"
    conservative = "conservative"
    robust = "robust"
    dpo_positive = "dpo_positive"


class Length(str, Enum):
    """Log-probability of a response in the preference loss: summed over its tokens, or their mean (length-normalised)."""

    mean = "mean"
    sum = "sum"


class PairWeight(str, Enum):
    """What a pair weighs in the loss: 1; or 1 for all pairs of its question together."""

    per_pair = "per_pair"
    per_question = "per_question"


class Objective(str, Enum):
    """dpo: preference loss plus weighted NLL on chosen; nll: the NLL of chosen alone (rejection-sampling SFT)."""

    dpo = "dpo"
    nll = "nll"


class Match(str, Enum):
    """What an arm shares with the one it is compared with.

    steps: optimizer steps, as configured; tokens: trained tokens; seconds: of training; student_tokens: written in play.
    """

    steps = "steps"
    tokens = "tokens"
    seconds = "seconds"
    student_tokens = "student_tokens"


class Precision(str, Enum):
    """auto: bfloat16 autocast where the device has it, else float32."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class Arithmetic(str, Enum):
    """What a forward pass computes in, and what its weights are kept in."""

    float32 = "float32"
    bfloat16_autocast = "bfloat16 autocast"
    bfloat16_weights = "bfloat16 weights, float32 master"
    bfloat16_read_only = "bfloat16 weights"


class Batching(str, Enum):
    """packed: rows of several questions, each prompt once with all of its responses; padded: a row for every response."""

    packed = "packed"
    padded = "padded"


class Accelerator(str, Enum):
    """auto: a GPU where there is one."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class ClusterKind(str, Enum):
    """local: one worker on this machine; torchrun: training stages on several ranks, of one or more machines; slurm: the
    same on all nodes of an allocation, by one command."""

    torchrun = "torchrun"
    slurm = "slurm"
    local = "local"


class StrategyKind(str, Enum):
    """auto: one device, or ddp over several ranks; zero1 to zero3: DeepSpeed; offload: optimizer (3: weights) on the CPU."""

    ddp = "ddp"
    zero1 = "zero1"
    zero2 = "zero2"
    zero3 = "zero3"
    zero2_offload = "zero2_offload"
    zero3_offload = "zero3_offload"
    auto = "auto"


class VerifierKind(str, Enum):
    """exact: the letters read from an answer equal the key; judge: an LLM decides right or wrong, the rule is kept beside."""

    exact = "exact"
    judge = "judge"


class WandbMode(str, Enum):
    """disabled: no W&B; offline: written to disk for a later sync; online: sent as it happens."""

    disabled = "disabled"
    offline = "offline"
    online = "online"
