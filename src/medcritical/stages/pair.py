"""pair: attempts and corrections (and what the teacher wrote) -> `pairs.jsonl` and the pair-quality report."""

from __future__ import annotations

from collections import Counter
from random import Random

from medcritical.config.choices import Chosen
from medcritical.config.schema import TemplateConfig
from medcritical.config.stages import PairStage
from medcritical.errors import TrainingError
from medcritical.records import Attempt, Correction, PreferencePair, TaughtCorrection, ThoughtTemplate
from medcritical.selfplay.filters import filter_pairs
from medcritical.selfplay.pairing import (
    Contrast,
    Contrasts,
    corrector_examples,
    drawn_first,
    make_pairs,
    replayed,
    stamped,
    student_contrasts,
)
from medcritical.selfplay.quality import pair_quality
from medcritical.selfplay.trials import Trial, trials_of
from medcritical.stages.context import Inputs, Output
from medcritical.stages.play import ATTEMPTS, CORRECTIONS
from medcritical.stages.teach import CORRECTIONS as TAUGHT
from medcritical.stages.teach import TEMPLATES
from medcritical.store import read_records, write_json
from medcritical.text.prompts import written_answer
from medcritical.text.thoughts import ThoughtFormat

PAIRS, QUALITY = "pairs.jsonl", "quality.json"


def run(config: PairStage, inputs: Inputs, output: Output) -> None:
    """Write what is trained on: pairs of this play and of earlier ones, responses chosen alone, the corrector's examples.

    Raises:
        TrainingError: nothing is left to train on.
    """
    trials = trials_of(
        read_records(inputs["play"] / ATTEMPTS, Attempt), read_records(inputs["play"] / CORRECTIONS, Correction)
    )
    rng = Random(config.seed)
    made, counts = make_pairs(trials, _contrasts(config, inputs, rng), per_question=config.pairs_per_question, rng=rng)
    new = stamped(made + (corrector_examples(trials) if config.trains_corrector else []), config.iteration)
    earlier = read_records(inputs["earlier"] / PAIRS, PreferencePair) if "earlier" in inputs else []
    again = replayed(earlier, since=config.replay_from)
    passed, filtered = filter_pairs([*new, *again], config.filters)
    pairs = [pair for pair in passed if pair.rejected is not None or config.keeps_alone]
    left_out = len(passed) - len(pairs)
    quality = pair_quality(trials, pairs, counts["stubborn"])
    quality |= {"filtered": dict(filtered), "replayed": len(again), "corrector_examples": len(new) - len(made)}
    quality["alone_left_out"] = left_out
    if not pairs:
        raise TrainingError(_nothing_left(len(trials), quality["malformed_attempts"], filtered, left_out))
    output.write(PAIRS, pairs)
    write_json(output.folder / QUALITY, quality)
    output.facts.update(quality)
    output.facts["shown"] = [f"{quality['pairs']} pairs, {quality['chosen_alone']} chosen alone"]
    if left_out:
        output.facts["shown"].append(f"{left_out} alone left out")
    if filtered:
        output.facts["shown"].append(f"filtered: {_by_filter(filtered)}")


def _by_filter(filtered: Counter[str]) -> str:
    return ", ".join(f"{number} by {name}" for name, number in filtered.items())


def _nothing_left(questions: int, malformed: int, filtered: Counter[str], left_out: int) -> str:
    if filtered:
        alone = f", and {left_out} right answers alone teach nothing with dpo.nll_weight=0" if left_out else ""
        return (
            f"no pair to train on: selfplay.filters took out all {filtered.total()} pairs ({_by_filter(filtered)}){alone}: "
            "loosen selfplay.filters."
        )
    if left_out:
        return (
            f"no pair to train on: none of {questions} questions has a wrong attempt in the template's form with a right answer "
            f"to it, and the {left_out} right answers alone teach nothing with dpo.nll_weight=0: raise it, or raise "
            "selfplay.questions or selfplay.attempts."
        )
    return (
        f"no pair to train on: none of {questions} questions has a verified answer in the template's form "
        f"({malformed} attempts were malformed): train stage 1 longer, or raise selfplay.attempts."
    )


def _contrasts(config: PairStage, inputs: Inputs, rng: Random) -> Contrasts:
    """Who writes what is preferred: the student, whose draws are of `rng`, or another, with draws of its own."""
    if config.chosen is Chosen.student:
        return lambda trial: student_contrasts(trial, config.fallback, rng)
    template, form, draws = config.template, ThoughtFormat(config.template), Random(config.seed)
    match config.chosen:
        case Chosen.answer:
            return lambda trial: _right_answers(template, form, trial, draws)
        case Chosen.teacher:
            corrections = read_records(inputs["taught"] / TAUGHT, TaughtCorrection)
            taught = {item.template.question.id: item for item in corrections}
            return lambda trial: _corrected(form, taught.get(trial.question.id), trial)
        case Chosen.thought:
            templates = read_records(inputs["taught"] / TEMPLATES, ThoughtTemplate)
            thoughts = {item.question.id: item for item in templates if item.is_kept}
            return lambda trial: _thought(form, thoughts.get(trial.question.id), trial, draws)


def _right_answers(template: TemplateConfig, form: ThoughtFormat, trial: Trial, draws: Random) -> list[Contrast]:
    """Wrong attempts with their answer put right: chosen and rejected differ in the answer alone."""
    answer, contrasts = written_answer(template, trial.question, trial.question.answer), []
    for wrong in _drawn(trial, draws):
        thought = form.parse(wrong)
        assert thought is not None  # `Trial.wrong` holds attempts in strict form only
        contrasts.append(Contrast(form.render([thought.outline], [thought.chain], answer), wrong, "answer"))
    return contrasts


def _corrected(form: ThoughtFormat, taught: TaughtCorrection | None, trial: Trial) -> list[Contrast]:
    if taught is None or not trial.wrong:
        return []
    return _against(form, taught.template, drawn_first([wrong.text for wrong in trial.wrong], taught.attempt))


def _thought(form: ThoughtFormat, thought: ThoughtTemplate | None, trial: Trial, draws: Random) -> list[Contrast]:
    wrong = _drawn(trial, draws)
    return [] if thought is None else _against(form, thought, wrong)


def _against(form: ThoughtFormat, thought: ThoughtTemplate, wrong: list[str]) -> list[Contrast]:
    chosen = form.render(thought.outline, thought.chain, thought.answer)
    return [Contrast(chosen, text, "teacher") for text in wrong]


def _drawn(trial: Trial, draws: Random) -> list[str]:
    """The trial's wrong attempts, a drawn one in front."""
    wrong = [attempt.text for attempt in trial.wrong]
    return drawn_first(wrong, draws.choice(wrong)) if wrong else []
