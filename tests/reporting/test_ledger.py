"""Costs by hand: what was read, written, sent again and paid, each artefact once."""

import dataclasses

import pytest

from medcritical.config.schema import PricesConfig, TokenPrice
from medcritical.errors import DataError
from medcritical.reporting.ledger import cost_table, ledger_table, priced
from medcritical.reporting.summary import LedgerEntry, Money
from medcritical.store import Costs

TEACH = Costs(teacher_tokens=40_000, teacher_prompt_tokens=10_000, retries=3, seconds=60)
PLAY = Costs(student_tokens=500_000, student_prompt_tokens=250_000, seconds=20)
SFT = Costs(seconds=100)
PRICES = PricesConfig(
    currency="USD",
    teacher=TokenPrice(prompt=0.5, completion=2.0),
    student=TokenPrice(prompt=0.0, completion=0.1),
    judge=TokenPrice(prompt=1.0, completion=10.0),
)


def entry(stage: str, costs: Costs, prices: PricesConfig | None = None) -> LedgerEntry:
    return LedgerEntry(stage=stage, costs=costs, money=None if prices is None else priced(costs, prices))


def spent(prices: PricesConfig | None = None, play: Costs = PLAY) -> dict[str, dict[str, LedgerEntry]]:
    """SFT is made from teaching; DPO from these and two plays."""
    sft = {"teach/1": entry("teach", TEACH, prices), "sft/1": entry("sft", SFT, prices)}
    plays = {"play/1": entry("play", play, prices), "play/2": entry("play", play, prices)}
    return {"score/sft-0-0": sft, "score/dpo-1-0": sft | plays}


def test_a_million_tokens_cost_their_price():
    assert priced(TEACH, PRICES) == Money(currency="USD", teacher=0.5 * 0.01 + 2 * 0.04, student=0, judge=0)
    judged = Costs(judge_tokens=1000, judge_prompt_tokens=500_000, student_tokens=1_000_000)
    assert priced(judged, PRICES) == Money(currency="USD", teacher=0, student=0.1, judge=0.51)


def test_costs_are_whole_numbers_with_separators(make_row, make_results):
    table = cost_table(make_results([make_row("dpo", 2)]))
    assert table.header == ("arm", "iteration", "teacher tokens", "student tokens", "seconds")
    assert table.rows == (("DPO", "2", "90,000", "2,469,134", "41"),)


def test_teacher_and_self_stand_in_one_line_each_artefact_once(make_row, make_results):
    table = cost_table(make_results([make_row(), make_row("dpo", 1)], spent=spent()))
    assert table.notes[-1] == (
        "teacher cost vs self cost, whole table, each artefact once: teacher 40,000 tokens written, 10,000 read, 60 s; "
        "self 1,000,000 tokens written, 500,000 read, 40 s"
    )


def test_money_comes_with_prices(make_row, make_results):
    table = cost_table(make_results([make_row(), make_row("dpo", 1)], spent=spent(PRICES)))
    assert table.header[-2:] == ("teacher USD", "student USD")
    assert [row[-2:] for row in table.rows] == [("0.0850", "0.0000"), ("0.0850", "0.1000")]
    assert "teacher 40,000 tokens written, 10,000 read, 60 s, 0.0850 USD; self" in table.notes[-1]
    assert table.notes[-1].endswith("40 s, 0.1000 USD")


def test_a_judge_has_its_own_columns(make_row, make_results):
    play = Costs(student_tokens=5, judge_tokens=700, judge_prompt_tokens=9_000)
    table = cost_table(make_results([make_row("dpo", 1)], spent=spent(PRICES, play)))
    (cells,) = (dict(zip(table.header, row, strict=True)) for row in table.rows)
    assert cells["judge tokens"] == "1,400"
    assert cells["judge USD"] == "0.0320"  # 18,000 read at 1, 1,400 written at 10 per million


def test_the_ledger_has_a_line_per_arm_and_stage(make_row, make_results):
    rows = [make_row(), make_row("dpo", 1, artefact="score/first"), make_row("dpo", 2, artefact="score/dpo-1-0")]
    table = ledger_table(make_results(rows, spent=spent()))
    assert table.header == (
        *("arm", "iteration", "stage", "artefacts", "teacher read", "teacher written"),
        *("student read", "student written", "retries", "seconds"),
    )
    assert table.rows == (
        ("SFT", "0", "teach", "1", "10,000", "40,000", "0", "0", "3", "60"),
        ("SFT", "0", "sft", "1", "0", "0", "0", "0", "0", "100"),
        ("SFT", "0", "score", "1", "0", "0", "0", "0", "0", "1"),
        ("DPO", "2", "teach", "1", "10,000", "40,000", "0", "0", "3", "60"),
        ("DPO", "2", "sft", "1", "0", "0", "0", "0", "0", "100"),
        ("DPO", "2", "play", "2", "0", "0", "500,000", "1,000,000", "0", "40"),
        ("DPO", "2", "score", "1", "0", "0", "0", "0", "0", "1"),
    )


def test_the_ledger_is_a_mean_over_seeds(make_row, make_results):
    rows = [make_row(seed=seed) for seed in (0, 1)]
    made_of = {
        row.artefact: {f"sft/{row.seed}": LedgerEntry(stage="sft", costs=Costs(seconds=10 + 4 * row.seed))}
        for row in rows
    }
    table = ledger_table(make_results(rows, spent=made_of))
    assert table.rows[0] == ("SFT", "0", "sft", "1", "12")


def test_two_currencies_are_refused(make_row, make_results):
    other = entry("sft", SFT, dataclasses.replace(PRICES, currency="CNY"))
    made_of = {"score/sft-0-0": {"teach/1": entry("teach", TEACH, PRICES), "sft/1": other}}
    with pytest.raises(DataError, match="CNY and USD"):
        cost_table(make_results([make_row()], spent=made_of))
