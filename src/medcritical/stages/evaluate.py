"""evaluate: held-out questions + checkpoint -> `predictions.jsonl` and `score.json`."""

from __future__ import annotations

from medcritical.config.stages import EvaluateStage
from medcritical.errors import DataError
from medcritical.evaluation import score_attempts
from medcritical.generation.engine import Sampling
from medcritical.records import Question
from medcritical.selfplay.quality import format_collapse
from medcritical.selfplay.verify import judge
from medcritical.stages.context import Inputs, Output
from medcritical.stages.engines import embedded_engine
from medcritical.stages.prepare import QUESTIONS
from medcritical.store import read_records, write_json, write_records
from medcritical.text.prompts import attempt_prompt
from medcritical.text.thoughts import ThoughtFormat

PREDICTIONS, SCORE = "predictions.jsonl", "score.json"


def run(config: EvaluateStage, inputs: Inputs, output: Output) -> None:
    """Answer every held-out question greedily and score the answers."""
    every = read_records(inputs["questions"] / QUESTIONS, Question)
    questions = [question for question in every if question.split == config.split][: config.questions]
    if not questions:
        raise DataError(f"there is no {config.split} question to score: raise data.sizes.{config.split}.")
    engine = embedded_engine(inputs["checkpoint"], output.trainer, config.precision)
    greedy = Sampling(temperature=0, top_p=1, max_new_tokens=config.max_new_tokens, batch_size=config.batch_size)
    answers = engine.generate(
        [attempt_prompt(config.template, question) for question in questions],
        greedy,
        seed=0,
        on_progress=lambda done, total: output.progress(done, total, "answers"),
    )
    form = ThoughtFormat(config.template)
    predictions = [
        judge(form, question, completion, round=0) for question, (completion,) in zip(questions, answers, strict=True)
    ]
    score = score_attempts(predictions, data=config.data, split=questions[0].split, confidence=config.confidence)
    write_records(output.folder / PREDICTIONS, predictions)
    write_json(output.folder / SCORE, score)
    output.student_tokens = sum(prediction.completion_tokens for prediction in predictions)
    if inputs.refs["checkpoint"].stage != "student":  # an untrained student does not know the form
        output.facts["alarms"] = [alarm for alarm in [format_collapse(predictions)] if alarm]
    output.facts["shown"] = [
        f"accuracy {score.accuracy:.1%} [{score.ci_low:.1%}, {score.ci_high:.1%}], {score.num_unparsed} unparsed"
    ]
