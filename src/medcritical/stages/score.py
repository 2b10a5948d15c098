"""score: responses of a checkpoint -> `predictions.jsonl` and `score.json`: reading, verification, vote, counts.

Nothing is generated here but a judge's decisions: other reading rules or a judge read the same answers again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import msgspec

from medcritical.config.stages import ScoreStage
from medcritical.errors import DataError
from medcritical.evaluation import score_attempts
from medcritical.evaluation.explanations import Explained, require_explained, score_explanations
from medcritical.evaluation.robustness import accuracy_without, permuted_score
from medcritical.evaluation.voting import majority
from medcritical.records import Answered, Attempt, PermutedAnswers, Score
from medcritical.selfplay.quality import format_collapse
from medcritical.stages.context import Inputs, Output
from medcritical.stages.prepare import read_flagged
from medcritical.stages.results import ANSWERS, PERMUTATIONS, PREDICTIONS, SCORE
from medcritical.stages.verifier import open_verifier
from medcritical.store import read_records, write_json
from medcritical.text.answers import extract_answer
from medcritical.text.permutation import permute_options, restore_letters
from medcritical.text.thoughts import ThoughtFormat


def run(config: ScoreStage, inputs: Inputs, output: Output) -> None:
    """Read and score the answers, each question once or by the majority of its samples."""
    answered = read_records(inputs["answers"] / ANSWERS, Answered)
    with open_verifier(config.verifier, config.template, inputs, output) as verifier:
        attempts = iter(
            verifier.verify([(item.question, each) for item in answered for each in item.completions], round=0)
        )
    predictions = [majority([next(attempts) for _ in item.completions]) for item in answered]
    if not config.count_undecided:
        predictions = _without_undecided(predictions, output)
    score = _score(config, predictions, inputs)
    if "permuted" in inputs:
        permuted = _permuted(predictions, read_records(inputs["permuted"] / ANSWERS, Answered))
        output.write(PERMUTATIONS, permuted)
        score = msgspec.structs.replace(score, **permuted_score(permuted))
    output.write(PREDICTIONS, predictions)
    write_json(output.folder / SCORE, score)
    if inputs.manifest("answers").inputs["checkpoint"].stage != "student":  # an untrained one does not know the form
        output.facts.setdefault("alarms", []).extend(alarm for alarm in [format_collapse(predictions)] if alarm)
    output.facts["shown"] = [_describe(score)]


def _permuted(predictions: Sequence[Attempt], asked: Iterable[Answered]) -> list[PermutedAnswers]:
    """The answers to each predicted question under all orders of its options, its own first."""
    others = {name: list(group) for name, group in groupby(asked, key=lambda item: item.question.id)}
    return [
        PermutedAnswers(
            question_id=attempt.question.id,
            answer=attempt.question.answer,
            orders=("".join(attempt.question.options), *(item.order for item in others.get(attempt.question.id, []))),
            letters=(attempt.letters, *(_read_permuted(item) for item in others.get(attempt.question.id, []))),
        )
        for attempt in predictions
    ]


def _read_permuted(item: Answered) -> str | None:
    """What was answered, in the letters of the question itself."""
    (completion,) = item.completions
    letters = extract_answer(completion.text, permute_options(item.question, item.order).options).letters
    return restore_letters(letters, item.question, item.order)


def _without_undecided(predictions: Sequence[Attempt], output: Output) -> list[Attempt]:
    """The published flaw: questions that the judge failed on leave every number and every file. Raises DataError for all."""
    kept = [attempt for attempt in predictions if attempt.outcome != "undecided"]
    if not kept:
        raise DataError(
            "the judge decided on no answer, and evaluation.count_undecided=false leaves the others out: set it to true."
        )
    if len(kept) < len(predictions):
        alarm = f"{len(predictions) - len(kept)} of {len(predictions)} questions are in no number: the judge left them undecided."
        output.facts.setdefault("alarms", []).append(alarm)
    return kept


def _score(config: ScoreStage, predictions: Sequence[Attempt], inputs: Inputs) -> Score:
    """The score of the predictions, with all that can be said of them without asking again."""
    score = score_attempts(
        predictions,
        split=predictions[0].question.split,
        is_judged=config.verifier.judge is not None,
    )
    flagged = read_flagged(inputs["questions"])
    if flagged is not None:
        score = msgspec.structs.replace(
            score,
            num_flagged=sum(attempt.question.id in flagged for attempt in predictions),
            accuracy_without_flagged=accuracy_without(predictions, flagged),
        )
    if config.explanation:
        require_explained(attempt.question for attempt in predictions)
        explained = _explained(ThoughtFormat(config.template), predictions)
        score = msgspec.structs.replace(score, explanation=score_explanations(explained))
    return score


def _explained(form: ThoughtFormat, predictions: Sequence[Attempt]) -> list[Explained]:
    """What was written in explanation of each answer whose question has one: the chain, or all where the form is lost."""
    explained = []
    for attempt in predictions:
        if attempt.question.explanation.strip():
            thought = form.parse(attempt.text)
            chain = thought.chain if thought is not None else ""
            given, language = attempt.question.explanation, attempt.question.language
            explained.append(Explained(chain or attempt.text, given, language))
    return explained


def _describe(score: Score) -> str:
    levels = f"chance {score.chance:.1%}, commonest letter {score.commonest_letter_accuracy:.1%}"
    undecided = f", {score.num_undecided} undecided" if score.agreement else ""
    return f"accuracy {score.accuracy:.1%} ({levels}), {score.num_unparsed} unparsed{undecided}"
