"""What was spent: by checkpoint, by arm and stage, and by teacher and student in one line. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from medcritical.config.schema import PricesConfig, TokenPrice
from medcritical.errors import DataError
from medcritical.reporting.pooling import Pool, distinct, last_iterations, pool_seeds
from medcritical.reporting.summary import LedgerEntry, Money, Results, SummaryRow
from medcritical.reporting.tables import Column, Table, fill, leading_columns, whole
from medcritical.store import Costs

Entries = Sequence[LedgerEntry]
Figure = Callable[[Entries], float]

MILLION = 1_000_000


def priced(costs: Costs, prices: PricesConfig) -> Money:
    """What these tokens cost."""

    def price(each: TokenPrice, prompt: int, completion: int) -> float:
        return (each.prompt * prompt + each.completion * completion) / MILLION

    return Money(
        currency=prices.currency,
        teacher=price(prices.teacher, costs.teacher_prompt_tokens, costs.teacher_tokens),
        student=price(prices.student, costs.student_prompt_tokens, costs.student_tokens),
        judge=price(prices.judge, costs.judge_prompt_tokens, costs.judge_tokens),
    )


def cost_table(results: Results) -> Table:
    """One line per checkpoint: teacher tokens, student tokens, seconds and, where there are prices, money; means over seeds.

    Apart from `result_table` because seconds differ between two runs of the same configuration. Raises DataError when
    runs are priced in different currencies.
    """
    pools, everything = distinct(pool_seeds(results.rows)), _everything(results)
    columns = [
        *leading_columns(pools),
        Column("teacher tokens", lambda pool: whole(pool.mean(row.teacher_tokens for row in pool.rows))),
        Column("student tokens", lambda pool: whole(pool.mean(row.student_tokens for row in pool.rows))),
    ]
    if judge_tokens(everything):
        columns.append(Column("judge tokens", lambda pool: whole(_mean(results, pool, judge_tokens))))
    columns.append(Column("seconds", lambda pool: whole(pool.mean(row.seconds for row in pool.rows))))
    columns += [_money_column(results, who, figure) for who, figure in _money_figures(everything).items()]
    notes = ["costs: of the checkpoint and all it was made from, each artefact once; tokens are those written"]
    return fill(pools, columns, [*notes, teacher_against_self(everything)])


def ledger_table(results: Results) -> Table:
    """One line per arm, at its last iteration, and stage: tokens read and written by each model, retries, seconds, money.

    Means over seeds. The last line of an arm is the scoring of its checkpoint, which no other table counts.
    """
    pools = last_iterations(distinct(pool_seeds(results.rows)))
    everything = [entry for row in results.rows for entry in _entries(results, row, with_score=True)]
    figures = _figures(everything)
    leading = leading_columns(pools)
    lines = []
    for pool in pools:
        by_seed = [_entries(results, row, with_score=True) for row in pool.rows]
        for stage in dict.fromkeys(entry.stage for entries in by_seed for entry in entries):
            seeds = [[entry for entry in entries if entry.stage == stage] for entries in by_seed]
            cells = [form(sum(map(figure, seeds)) / len(seeds)) for figure, form in figures.values()]
            lines.append((*(column.cell(pool) for column in leading), stage, *cells))
    header = (*(column.heading for column in leading), "stage", *figures)
    return Table(
        header, tuple(lines), ("ledger: each arm at its last iteration, with all before it; means over seeds",)
    )


def stage_table(results: Results) -> Table:
    """One line per stage, all arms together: artefacts made, tokens read and written, seconds; each artefact once."""
    made = dict.fromkeys(
        key for row in results.rows for key in (*results.lineage[row.artefact], *results.scoring[row.artefact])
    )
    everything = [results.ledger[key] for key in made]
    figures = _figures(everything)
    lines = []
    for stage in dict.fromkeys(entry.stage for entry in everything):
        of_stage = [entry for entry in everything if entry.stage == stage]
        lines.append((stage, *(form(figure(of_stage)) for figure, form in figures.values())))
    return Table(("stage", *figures), tuple(lines), ("stages: of all arms together, each artefact once",))


def teacher_against_self(entries: Iterable[LedgerEntry]) -> str:
    """Teacher cost vs self cost in one line: tokens, seconds of the stages where they are spent, money if there are prices."""
    entries = list(entries)
    total = Costs.sum(entry.costs for entry in entries)
    sides = {
        "teacher": (total.teacher_tokens, total.teacher_prompt_tokens, "teach"),
        "self": (total.student_tokens, total.student_prompt_tokens, "play"),
    }
    money = _money_figures(entries)
    shown = []
    for (side, (written, read, stage)), name in zip(sides.items(), ("teacher", "student"), strict=True):
        seconds = sum(entry.costs.seconds for entry in entries if entry.stage == stage)
        price = "".join(
            f", {figure(entries):,.4f} {who.removeprefix(name).strip()}" for who, figure in money.items() if name in who
        )
        shown.append(f"{side} {written:,} tokens written, {read:,} read, {seconds:,.0f} s{price}")
    return f"teacher cost vs self cost, whole table, each artefact once: {shown[0]}; {shown[1]}"


def judge_tokens(entries: Entries) -> int:
    """Tokens that a judge wrote."""
    return sum(entry.costs.judge_tokens for entry in entries)


def _entries(results: Results, row: SummaryRow, *, with_score: bool = False) -> list[LedgerEntry]:
    """What a row's checkpoint and all it was made from took, and if asked its scoring."""
    made_of = [*results.lineage[row.artefact], *(results.scoring[row.artefact] if with_score else [])]
    return [results.ledger[artefact] for artefact in made_of]


def _everything(results: Results) -> list[LedgerEntry]:
    """The entry of every artefact that a checkpoint was made from, each once."""
    made_of = dict.fromkeys(artefact for row in results.rows for artefact in results.lineage[row.artefact])
    return [results.ledger[artefact] for artefact in made_of]


def _money_column(results: Results, heading: str, figure: Figure) -> Column:
    return Column(heading, lambda pool: f"{_mean(results, pool, figure):,.4f}")


def _mean(results: Results, pool: Pool, figure: Figure) -> float:
    return sum(figure(_entries(results, row)) for row in pool.rows) / len(pool.rows)


def _figures(entries: Entries) -> dict[str, tuple[Figure, Callable[[float], str | None]]]:
    """Headings of the ledger with what stands below them. A column that would hold nothing but zeros is left out."""
    counted = {
        "teacher read": "teacher_prompt_tokens",
        "teacher written": "teacher_tokens",
        "student read": "student_prompt_tokens",
        "student written": "student_tokens",
        "judge read": "judge_prompt_tokens",
        "judge written": "judge_tokens",
        "retries": "retries",
        "seconds": "seconds",
    }

    def total(name: str) -> Figure:
        return lambda entries: float(sum(getattr(entry.costs, name) for entry in entries))

    figures: dict[str, tuple[Figure, Callable[[float], str | None]]] = {"artefacts": (len, whole)}
    figures |= {heading: (total(name), whole) for heading, name in counted.items() if total(name)(entries)}
    figures |= {who: (figure, "{:,.4f}".format) for who, figure in _money_figures(entries).items()}
    return figures


def _money_figures(entries: Entries) -> dict[str, Figure]:
    """What each model cost, by heading such as "teacher USD"; empty without prices, without the judge where none was paid."""
    currencies = sorted({entry.money.currency for entry in entries if entry.money is not None})
    if len(currencies) > 1:
        raise DataError(f"these runs are priced in {' and '.join(currencies)}: report them apart, or reprice one.")

    def total(who: str) -> Figure:
        return lambda entries: float(sum(getattr(entry.money, who) for entry in entries if entry.money is not None))

    payees = ["teacher", "student", *(["judge"] if judge_tokens(entries) else [])]
    return {f"{who} {currency}": total(who) for currency in currencies for who in payees}
