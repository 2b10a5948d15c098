"""evaluate: held-out questions + checkpoint -> `predictions.jsonl` and `score.json`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from medcritical.config.stages import EvaluateStage
from medcritical.errors import DataError
from medcritical.evaluation import score_attempts
from medcritical.evaluation.explanations import Explained, require_packages, score_explanations
from medcritical.evaluation.robustness import accuracy_without
from medcritical.evaluation.voting import majority
from medcritical.generation.engine import Sampling
from medcritical.records import Attempt, Question, Score
from medcritical.selfplay.quality import format_collapse
from medcritical.stages.context import Inputs, Output
from medcritical.stages.engines import student_engine
from medcritical.stages.permuted import ask_permuted
from medcritical.stages.prepare import QUESTIONS, read_flagged
from medcritical.stages.results import PREDICTIONS, SCORE
from medcritical.stages.verifier import open_verifier
from medcritical.store import read_records, write_json
from medcritical.text.prompts import attempt_prompt
from medcritical.text.thoughts import ThoughtFormat


def run(config: EvaluateStage, inputs: Inputs, output: Output) -> None:
    """Answer every held-out question, once or by the majority of several samples, and score the answers."""
    every = read_records(inputs["questions"] / QUESTIONS, Question)
    questions = [question for question in every if question.split == config.split][: config.questions]
    if not questions:
        raise DataError(f"there is no {config.split} question to score: raise data.sizes.{config.split}.")
    if config.explanation:
        _require_explanations(questions)
    with student_engine(config.engine, inputs, "checkpoint", output, config.precision) as engine:
        sampling = Sampling(
            temperature=config.temperature,
            top_p=config.top_p,
            max_new_tokens=config.max_new_tokens,
            batch_tokens=config.batch_tokens,
        )
        answers = engine.generate(
            [attempt_prompt(config.template, question, is_bare=not config.chat_template) for question in questions],
            sampling,
            samples=config.votes,
            seed=config.seed,
            on_progress=lambda done, total: output.progress(done, total, "answers"),
        )
        with open_verifier(config.verifier, config.template, inputs, output) as verifier:
            answered = [
                (question, completion)
                for question, completions in zip(questions, answers, strict=True)
                for completion in completions
            ]
            attempts = verifier.verify(answered, round=0)
        each = config.votes
        predictions = [majority(attempts[start : start + each]) for start in range(0, len(attempts), each)]
        if not config.count_undecided:
            predictions = _without_undecided(predictions, output)
        score = _score(config, predictions, inputs)
        if config.permutations > 1:
            permuted = ask_permuted(config, engine, sampling, predictions, output)
            score = msgspec.structs.replace(
                score,
                permutations=config.permutations,
                permuted_accuracy=permuted.accuracy,
                consistency=permuted.consistency,
            )
        output.spend("student", engine.usage)
    output.write(PREDICTIONS, predictions)
    write_json(output.folder / SCORE, score)
    if inputs.refs["checkpoint"].stage != "student":  # an untrained student does not know the form
        output.facts.setdefault("alarms", []).extend(alarm for alarm in [format_collapse(predictions)] if alarm)
    output.facts["shown"] = [_describe(score)]


def _require_explanations(questions: Sequence[Question]) -> None:
    """Said before anything is generated: there is something to count n-grams with, and something to compare with."""
    require_packages()
    if not any(question.explanation.strip() for question in questions):
        raise DataError(
            "evaluation.explanation=true compares with the data set's own explanations, and no question has one: set it "
            "to false."
        )


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


def _score(config: EvaluateStage, predictions: Sequence[Attempt], inputs: Inputs) -> Score:
    """The score of the predictions, with all that can be said of them without asking again."""
    judge = config.verifier.judge
    score = score_attempts(
        predictions,
        data=config.data,
        split=predictions[0].question.split,
        judge=None if judge is None else judge.name,
    )
    flagged = read_flagged(inputs["questions"])
    if flagged is not None:
        score = msgspec.structs.replace(
            score,
            num_flagged=sum(attempt.question.id in flagged for attempt in predictions),
            accuracy_without_flagged=accuracy_without(predictions, flagged),
        )
    if config.explanation:
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
    counts = f"{score.num_correct} of {score.num_questions}"
    levels = f"chance {score.chance:.1%}, commonest letter {score.commonest_letter_accuracy:.1%}"
    undecided = f", {score.num_undecided} undecided" if score.agreement else ""
    return f"accuracy {score.accuracy:.1%}, {counts} ({levels}), {score.num_unparsed} unparsed{undecided}"
