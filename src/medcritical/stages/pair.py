"""pair: attempts and corrections (and what the teacher wrote) -> `pairs.jsonl` and the pair-quality report."""

from __future__ import annotations

from random import Random

from medcritical.config.choices import Chosen
from medcritical.config.schema import TemplateConfig
from medcritical.config.stages import PairStage
from medcritical.errors import TrainingError
from medcritical.records import Attempt, Correction, PreferencePair, TaughtCorrection, ThoughtTemplate
from medcritical.selfplay.filters import filter_pairs
from medcritical.selfplay.pairing import Contrast, Teach, corrector_examples, make_pairs, replayed, stamped
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
    """Write one item per solved question, and what is replayed. Raises TrainingError when nothing is left to train on."""
    trials = trials_of(
        read_records(inputs["play"] / ATTEMPTS, Attempt), read_records(inputs["play"] / CORRECTIONS, Correction)
    )
    made, counts = make_pairs(
        trials,
        fallback=config.fallback,
        rng=Random(config.seed),
        teach=_teach(config, inputs),
        origin="answer" if config.chosen is Chosen.answer else "teacher",
    )
    new = stamped(made + (corrector_examples(trials) if config.trains_corrector else []), config.iteration)
    earlier = read_records(inputs["earlier"] / PAIRS, PreferencePair) if "earlier" in inputs else []
    again = replayed(earlier, since=config.replay_from)
    pairs, filtered = filter_pairs([*new, *again], config.filters)
    quality = pair_quality(trials, pairs, counts)
    quality |= {"filtered": dict(filtered), "replayed": len(again), "corrector_examples": len(new) - len(made)}
    if not pairs:
        raise TrainingError(
            f"no pair to train on: none of {len(trials)} questions has a verified answer in the template's form "
            f"({quality['malformed_attempts']} attempts were malformed; the filters took out {filtered.total()}): train "
            "stage 1 longer, raise selfplay.attempts, or loosen selfplay.filters."
        )
    output.write(PAIRS, pairs)
    write_json(output.folder / QUALITY, quality)
    output.facts.update(quality)
    output.facts["shown"] = [f"{quality['pairs']} pairs, {quality['chosen_alone']} chosen alone"]
    if filtered:
        output.facts["shown"].append("filtered: " + ", ".join(f"{n} by {name}" for name, n in filtered.items()))


def _teach(config: PairStage, inputs: Inputs) -> Teach | None:
    """Who writes what is preferred where it is not the student."""
    if config.chosen is Chosen.student:
        return None
    template, rng, form = config.template, Random(config.seed), ThoughtFormat(config.template)
    match config.chosen:
        case Chosen.answer:
            return lambda trial: _right_answer(template, form, trial, rng)
        case Chosen.teacher:
            corrections = read_records(inputs["taught"] / TAUGHT, TaughtCorrection)
            by_question = {item.template.question.id: item for item in corrections}
            return lambda trial: _corrected(form, by_question.get(trial.question.id))
        case Chosen.thought:
            templates = read_records(inputs["taught"] / TEMPLATES, ThoughtTemplate)
            thoughts = {item.question.id: item for item in templates if item.is_kept}
            return lambda trial: _thought(form, thoughts.get(trial.question.id), rng.choice(trial.wrong))


def _right_answer(template: TemplateConfig, form: ThoughtFormat, trial: Trial, rng: Random) -> Contrast | None:
    """A wrong attempt with its answer put right: chosen and rejected differ in the answer alone."""
    wrong = rng.choice(trial.wrong)
    thought = form.parse(wrong.text)
    assert thought is not None  # `Trial.wrong` holds attempts in strict form only
    answer = written_answer(template, trial.question, trial.question.answer)
    return Contrast(form.render([thought.outline], [thought.chain], answer), wrong.text)


def _corrected(form: ThoughtFormat, taught: TaughtCorrection | None) -> Contrast | None:
    if taught is None:
        return None
    thought = taught.template
    return Contrast(form.render(thought.outline, thought.chain, thought.answer), taught.attempt)


def _thought(form: ThoughtFormat, thought: ThoughtTemplate | None, wrong: Attempt) -> Contrast | None:
    if thought is None:
        return None
    return Contrast(form.render(thought.outline, thought.chain, thought.answer), wrong.text)
