"""What stands behind an accuracy, by hand: slices, rule against judge, explanations, robustness."""

import pytest

from medcritical.evaluation.agreement import agreement_of
from medcritical.evaluation.statistics import wilson_interval
from medcritical.records import ExplanationScore, Judged, Slice, Tally
from medcritical.reporting.breakdown import agreement_table, explanation_table, robustness_table, slice_table
from medcritical.reporting.contents import make_tables
from medcritical.reporting.measuring import PredictionReader, measure_slices
from medcritical.reporting.pooling import checkpoint_of, pool_seeds
from medcritical.reporting.tables import Table


def tally(num_questions: int, num_correct: int, **changes: object) -> Tally:
    accuracy = num_correct / num_questions
    fields: dict[str, object] = {
        "num_questions": num_questions,
        "num_correct": num_correct,
        "num_unparsed": 1,
        "accuracy": accuracy,
        "chance": 0.2,
        "commonest_letter": "B",
        "commonest_letter_accuracy": 0.3,
        "jaccard": accuracy + 0.05,
    }
    return Tally(**{**fields, **changes})  # type: ignore[arg-type]


def slice_of(annotation: str, value: str, num_questions: int, num_correct: int) -> Slice:
    plain = tally(num_questions, num_correct)
    return Slice(**{name: getattr(plain, name) for name in Tally.__struct_fields__}, annotation=annotation, value=value)


def lines(table: Table) -> list[dict[str, str | None]]:
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def test_slices_have_counts_interval_and_levels(make_row, make_score, make_results, make_measured):
    score = make_score(slices=(slice_of("department", "surgery", 40, 20), slice_of("department", "儿科", 10, 8)))
    key = checkpoint_of(make_row())
    intervals = {(key, ("department", "surgery")): (0.4, 0.6), (key, ("department", "儿科")): (0.7, 0.9)}
    table = slice_table(make_results([make_row()], {"score/sft-0-0": score}), make_measured(slice_intervals=intervals))
    assert lines(table) == [
        {
            "arm": "SFT",
            "iteration": "0",
            "annotation": "department",
            "value": "surgery",
            "accuracy %": "50.0",
            "95 % over questions": "[40.0, 60.0]",
            "unparsed %": "2.5",
            "chance %": "20.0",
            "commonest %": "30.0",
            "n": "40",
        },
        {
            "arm": "SFT",
            "iteration": "0",
            "annotation": "department",
            "value": "儿科",
            "accuracy %": "80.0",
            "95 % over questions": "[70.0, 90.0]",
            "unparsed %": "10.0",
            "chance %": "20.0",
            "commonest %": "30.0",
            "n": "10",
        },
    ]


def test_one_and_several_right_letters_stand_apart_with_the_letters_in_common(
    make_row, make_score, make_results, make_measured
):
    score = make_score(single=tally(180, 99), multi=tally(20, 5, jaccard=0.61))
    results = make_results([make_row()], {"score/sft-0-0": score})
    first, second = lines(slice_table(results, make_measured()))
    assert (first["annotation"], first["value"], first["accuracy %"], first["n"]) == (
        "right letters",
        "one",
        "55.0",
        "180",
    )
    assert (second["value"], second["accuracy %"], second["Jaccard %"], second["n"]) == (
        "several",
        "25.0",
        "61.0",
        "20",
    )


def test_slices_of_several_seeds_show_the_mean_and_their_interval(make_row, make_score, make_results, make_measured):
    rows = [make_row(seed=seed) for seed in (0, 1)]
    scores = {row.artefact: make_score(slices=(slice_of("kind", "test", 20, 10 + row.seed * 4),)) for row in rows}
    measured = make_measured(slice_intervals={(checkpoint_of(rows[0]), ("kind", "test")): (0.31, 0.82)})
    (line,) = lines(slice_table(make_results(rows, scores), measured))
    assert (line["accuracy %"], line["95 % interval"], line["n"]) == ("60.0", "[31.0, 82.0]", "2 × 20")


def test_a_slice_that_one_seed_lacks_is_the_others(make_row, make_score, make_results, make_measured):
    rows = [make_row(seed=seed) for seed in (0, 1)]
    scores = {rows[1].artefact: make_score(slices=(slice_of("kind", "test", 20, 14),))}
    results = make_results(rows, scores)
    intervals = measure_slices(results, pool_seeds(rows), PredictionReader({}), 0.95)
    (line,) = lines(slice_table(results, make_measured(slice_intervals=intervals)))
    low, high = wilson_interval(14, 20, 0.95)
    assert (line["accuracy %"], line["n"]) == ("70.0", "20")
    assert line["95 % interval"] == f"[{100 * low:.1f}, {100 * high:.1f}]"


def test_agreement_adds_up_over_seeds(make_row, make_score, make_results):
    def judged(right: int, wrong: int, undecided: int = 0) -> Judged:
        return Judged(right=right, wrong=wrong, undecided=undecided)

    rows = [make_row(seed=seed, verifier="QwQ-32B") for seed in (0, 1)]
    agreements = [
        agreement_of(judged(20, 2), judged(3, 15), judged(0, 5, 2)),
        agreement_of(judged(0, 3), judged(2, 0), judged(0, 0)),
    ]
    scores = {row.artefact: make_score(agreement=found) for row, found in zip(rows, agreements, strict=True)}
    table = agreement_table(make_results(rows, scores))
    counts = [
        (line["rule found"], line["judge right"], line["judge wrong"], line["undecided"]) for line in lines(table)
    ]
    assert counts == [("right", "20", "5", "0"), ("wrong", "5", "15", "0"), ("unparsed", "0", "5", "2")]
    # 50 decided: 40 agree; 25 of them right by the rule and 25 by the judge, so half agree by chance
    assert {line["kappa"] for line in lines(table)} == {"0.600"}
    assert {line["judge"] for line in lines(table)} == {"QwQ-32B"}


def test_explanations_are_percent(make_row, make_score, make_results):
    explanation = ExplanationScore(
        num_questions=150, bleu_1=0.1234, bleu_4=0.02, rouge_1=0.3, rouge_2=0.1, rouge_l=0.25
    )
    table = explanation_table(make_results([make_row()], {"score/sft-0-0": make_score(explanation=explanation)}))
    assert table.rows == (("SFT", "0", "12.3", "2.0", "30.0", "10.0", "25.0", "150"),)


def test_robustness_says_what_is_left_without_copies_and_over_orders(make_row, make_score, make_results):
    rows = [make_row(), make_row("dpo", 1), make_row("nll", 1)]
    scores = {
        rows[0].artefact: make_score(num_flagged=12, accuracy_without_flagged=0.475),
        rows[1].artefact: make_score(permutations=4, permuted_accuracy=0.44, consistency=0.7),
    }
    table = robustness_table(make_results(rows, scores))
    assert table.rows == (
        ("SFT", "0", "50.0", "12", "47.5", "1", None, None),
        ("DPO", "1", "50.0", None, None, "4", "44.0", "70.0"),
    )


def test_a_report_has_no_empty_tables(make_row, make_score, make_results, make_measured):
    assert list(make_tables(make_results([make_row()]), make_measured())) == ["table", "costs", "stages", "ledger"]
    score = make_score(slices=(slice_of("kind", "test", 20, 14),))
    tables = make_tables(make_results([make_row()], {"score/sft-0-0": score}), make_measured())
    assert list(tables) == ["table", "costs", "stages", "ledger", "slices"]


@pytest.mark.parametrize("make_table", [agreement_table, explanation_table, robustness_table])
def test_nothing_to_say_is_an_empty_table(make_row, make_results, make_table):
    assert make_table(make_results([make_row()])).rows == ()


def test_no_slices_are_an_empty_table(make_row, make_results, make_measured):
    assert slice_table(make_results([make_row()]), make_measured()).rows == ()
