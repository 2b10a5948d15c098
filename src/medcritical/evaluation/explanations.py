"""Explanations against those of the data set: BLEU and ROUGE, as CMExam's benchmark reports them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import fmean

from medcritical.errors import ConfigError, DataError
from medcritical.records import ExplanationScore, Question


@dataclass(frozen=True)
class Explained:
    """What a model wrote in explanation, what the data set says, and the language of the question: en or zh."""

    written: str
    given: str
    language: str


def require_packages() -> None:
    """Raises ConfigError when the packages that count n-grams are not installed: before anything is generated."""
    missing = [name for name in ("sacrebleu", "rouge_score") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"evaluation.explanation=true needs {' and '.join(missing)}: install medcritical[explanation], or set it to false."
        )


def require_explained(questions: Iterable[Question]) -> None:
    """Raises DataError when the data set explains none of the questions: there is nothing to compare with."""
    if not any(question.explanation.strip() for question in questions):
        raise DataError(
            "evaluation.explanation=true compares with the data set's own explanations, and no question has one: set it "
            "to false."
        )


def score_explanations(explained: Sequence[Explained]) -> ExplanationScore:
    """BLEU-1 and BLEU-4 of the corpus without smoothing, mean ROUGE-1, -2 and -L F-scores; at least one explanation.

    Chinese is compared character by character, as upstream does; other languages by the words of sacrebleu's "13a".
    """
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import BLEU

    written = [" ".join(split_tokens(item.written, item.language)) for item in explained]
    given = [" ".join(split_tokens(item.given, item.language)) for item in explained]

    def bleu(order: int) -> float:
        counter = BLEU(tokenize="none", max_ngram_order=order, smooth_method="none", force=True)
        return float(counter.corpus_score(written, [given]).score) / 100

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_Spaces())
    scores = [scorer.score(reference, text) for reference, text in zip(given, written, strict=True)]
    return ExplanationScore(
        num_questions=len(explained),
        bleu_1=bleu(1),
        bleu_4=bleu(4),
        rouge_1=fmean(score["rouge1"].fmeasure for score in scores),
        rouge_2=fmean(score["rouge2"].fmeasure for score in scores),
        rouge_l=fmean(score["rougeL"].fmeasure for score in scores),
    )


def split_tokens(text: str, language: str) -> list[str]:
    """The units that are compared: characters without spaces in Chinese, else words and marks, letters in lower case."""
    if language == "zh":
        return [character for character in text if not character.isspace()]
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokens: list[str] = Tokenizer13a()(text.lower()).split()
    return tokens


class _Spaces:
    """Tokens that are parted by spaces already: rouge_score's own tokenizer drops all that is not ASCII."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()
