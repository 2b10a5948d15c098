"""What stands behind an accuracy: slices, rule against judge, explanations, robustness. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from medcritical.evaluation.agreement import add_agreements
from medcritical.evaluation.scoring import parts_of
from medcritical.records import Agreement, ExplanationScore, Judged, Score, Tally
from medcritical.reporting.measuring import Bounds, Measured
from medcritical.reporting.pooling import Pool, distinct, pool_seeds
from medcritical.reporting.summary import Results
from medcritical.reporting.tables import (
    Column,
    Table,
    bounds,
    fill,
    interval_heading,
    interval_notes,
    leading_columns,
    percent,
    sizes,
    whole,
)


def slice_table(results: Results, measured: Measured) -> Table:
    """One line per checkpoint and slice, with its counts, interval and levels of knowing nothing; over seeds as results.

    Where some questions have several right letters, those with one and with several are slices too, and a column says what
    share of letters answer and key have in common.
    """
    pools = distinct(pool_seeds(results.rows))
    leading = leading_columns(pools)
    every = [score for pool in pools for score in scores_of(results, pool)]
    is_judged, has_multi = any(score.agreement for score in every), any(score.multi for score in every)
    header = ["annotation", "value", "accuracy %", interval_heading(pools, measured.confidence)]
    header += [*(["Jaccard %"] if has_multi else []), "unparsed %", *(["undecided %"] if is_judged else [])]
    header += ["chance %", "commonest %", "n"]
    lines = []
    for pool in pools:
        seeds = [parts_of(score) for score in scores_of(results, pool)]
        for name in dict.fromkeys(name for parts in seeds for name in parts):
            interval = measured.slice_intervals.get((pool.checkpoint, name))
            cells = _cells(
                [parts[name] for parts in seeds if name in parts], interval, is_judged=is_judged, has_multi=has_multi
            )
            lines.append((*(column.cell(pool) for column in leading), *name, *cells))
    notes = [*interval_notes(pools, measured.confidence), "a slice is a look at few questions, not a test"]
    return Table((*(column.heading for column in leading), *header), tuple(lines), tuple(notes))


def agreement_table(results: Results) -> Table:
    """What the judge decided where the rule found an answer right, wrong or unparsed; counts of all seeds together."""
    pools = [
        pool
        for pool in distinct(pool_seeds(results.rows))
        if any(score.agreement for score in scores_of(results, pool))
    ]
    leading = leading_columns(pools)
    lines = []
    for pool in pools:
        found = [score.agreement for score in scores_of(results, pool) if score.agreement is not None]
        agreement = add_agreements(found)
        for rule, judged in _by_rule(agreement).items():
            counts = (str(judged.right), str(judged.wrong), str(judged.undecided))
            kappa = None if agreement.kappa is None else f"{agreement.kappa:.3f}"
            lines.append((*(column.cell(pool) for column in leading), pool.rows[0].verifier, rule, *counts, kappa))
    header = ("judge", "rule found", "judge right", "judge wrong", "undecided", "kappa")
    notes = ("kappa: Cohen's, right against not right, over the answers that the judge decided on",)
    return Table((*(column.heading for column in leading), *header), tuple(lines), notes)


def explanation_table(results: Results) -> Table:
    """BLEU and ROUGE of the explanations in percent, means over seeds."""
    pools = [
        pool
        for pool in distinct(pool_seeds(results.rows))
        if all(score.explanation for score in scores_of(results, pool))
    ]

    def explanations(pool: Pool) -> list[ExplanationScore]:
        return [score.explanation for score in scores_of(results, pool) if score.explanation is not None]

    def mean(name: str) -> Callable[[Pool], str | None]:
        return lambda pool: percent(fmean(getattr(explanation, name) for explanation in explanations(pool)))

    columns = [
        *leading_columns(pools),
        Column("BLEU-1", mean("bleu_1")),
        Column("BLEU-4", mean("bleu_4")),
        Column("ROUGE-1", mean("rouge_1")),
        Column("ROUGE-2", mean("rouge_2")),
        Column("ROUGE-L", mean("rouge_l")),
        Column("n", lambda pool: sizes(explanation.num_questions for explanation in explanations(pool))),
    ]
    notes = [
        "explanations against the data set's own; Chinese by character, as CMExam reports it; n: questions with one"
    ]
    return fill(pools, columns, notes)


def robustness_table(results: Results) -> Table:
    """Accuracy without questions that have a copy in train, and over several orders of the options; means over seeds."""

    def is_checked(score: Score) -> bool:
        return score.num_flagged is not None or score.permutations > 1

    def mean(pool: Pool, name: str) -> float | None:
        return pool.mean(getattr(score, name) for score in scores_of(results, pool))

    pools = [pool for pool in distinct(pool_seeds(results.rows)) if any(map(is_checked, scores_of(results, pool)))]
    columns = [
        *leading_columns(pools),
        Column("accuracy %", lambda pool: percent(pool.accuracy)),
        Column("copies", lambda pool: whole(mean(pool, "num_flagged"))),
        Column("accuracy % without", lambda pool: percent(mean(pool, "accuracy_without_flagged"))),
        Column("orders", lambda pool: whole(mean(pool, "permutations"))),
        Column("accuracy % over orders", lambda pool: percent(mean(pool, "permuted_accuracy"))),
        Column("consistency %", lambda pool: percent(mean(pool, "consistency"))),
    ]
    notes = [
        "copies: questions with an exact or near copy in train; orders: of the options, in which every question was asked",
        "consistency: questions with one and the same answer in all orders",
    ]
    return fill(pools, columns, notes)


def scores_of(results: Results, pool: Pool) -> list[Score]:
    """The scores of a pool, one per seed."""
    return [results.scores[row.artefact] for row in pool.samples]


def _cells(tallies: Sequence[Tally], interval: Bounds | None, *, is_judged: bool, has_multi: bool) -> list[str | None]:
    undecided = percent(fmean(tally.num_undecided / tally.num_questions for tally in tallies))
    return [
        percent(fmean(tally.accuracy for tally in tallies)),
        bounds(interval),
        *([percent(fmean(tally.jaccard for tally in tallies))] if has_multi else []),
        percent(fmean(tally.num_unparsed / tally.num_questions for tally in tallies)),
        *([undecided] if is_judged else []),
        percent(fmean(tally.chance for tally in tallies)),
        percent(fmean(tally.commonest_letter_accuracy for tally in tallies)),
        sizes(tally.num_questions for tally in tallies),
    ]


def _by_rule(agreement: Agreement) -> dict[str, Judged]:
    return {"right": agreement.right, "wrong": agreement.wrong, "unparsed": agreement.unparsed}
