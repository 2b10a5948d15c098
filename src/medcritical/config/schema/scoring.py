"""Right or wrong, scores, published models beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from medcritical.config.choices import VerifierKind
from medcritical.config.fields import key
from medcritical.config.schema.models import EngineConfig, StudentConfig, TemplateConfig


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
class JudgeConfig:
    """An LLM that is limited to one decision about an answer: 1 for right, 2 for wrong."""

    name: str = key("judge name in tables", semantic=False)
    engine: EngineConfig = key("who is asked; its model must be named")
    system: str = key("system message; empty for none")
    prompt: str = key("{question}, {gold} and {reply}: what the judge is asked, with 1 and 2 as the only answers")
    max_new_tokens: int = key("longest decision, tokens; one that thinks first needs room for it", ge=1)
    only_digits: bool = key("published flaw: one token, 1 or 2, is all that the judge can write, so it cannot think")
    batch_tokens: int = key(
        "embedded judge: tokens, prompts and longest decisions, decoded together", semantic=False, ge=1
    )


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
    confidence: float = key("level of the intervals that tables and figures show", gt=0, lt=1)
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
