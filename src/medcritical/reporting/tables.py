"""The table of scores, and what all tables are made of. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from medcritical.evaluation.statistics import minimum_detectable_difference
from medcritical.reporting.pooling import Checkpoint, Difference, Pool, distinct, pool_seeds
from medcritical.reporting.summary import SummaryRow

MARKS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
POWER, ALPHA = 0.8, 0.05


@dataclass(frozen=True)
class Table:
    """Cells as text under a header; None is a missing value. `notes` are printed below, one line each."""

    header: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column's heading and the cell it has for a pool."""

    heading: str
    cell: Callable[[Pool], str | None]


def result_table(
    rows: Sequence[SummaryRow], differences: Mapping[Checkpoint, Difference], baseline: str | None
) -> Table:
    """One line per checkpoint: accuracy and its interval, sound and unparsed shares, difference to the baseline, n.

    Shares are in percent and differences in percentage points, pooled over seeds by the caller. With several seeds the
    accuracy is their mean and its interval their range. `baseline` is the arm that differences were taken to, None
    where none was. Undecided answers have a column where a judge decided. Raises DataError as `pool_seeds` does.
    """
    every = pool_seeds(rows)
    pools = distinct(every)
    judges = list(dict.fromkeys(row.verifier for row in rows if row.verifier != "exact"))
    undecided = Column("undecided %", lambda pool: percent(pool.mean(_share(row, row.undecided) for row in pool.rows)))
    columns = [
        *leading_columns(pools),
        Column("accuracy %", lambda pool: percent(pool.accuracy)),
        Column("interval", lambda pool: bounds(*pool.spread, num_seeds=len(pool.rows))),
        Column("sound %", lambda pool: percent(pool.mean(_share(row, row.sound) for row in pool.rows))),
        Column("unparsed %", lambda pool: percent(pool.mean(_share(row, row.unparsed) for row in pool.rows))),
        *([undecided] if judges else []),
        Column("difference", lambda pool: _difference(differences.get(pool.checkpoint))),
        Column("its interval", lambda pool: _difference_interval(differences.get(pool.checkpoint))),
        Column("p (Holm)", lambda pool: _p_value(differences.get(pool.checkpoint))),
        Column("n", lambda pool: sizes(row.num_questions for row in pool.rows)),
    ]
    notes = [*shared_notes(every, pools), *_chance_notes(pools), *_interval_notes(pools)]
    if differences:
        notes.append(
            f"difference: percentage points to arm '{baseline}', paired by question and pooled over seeds; its interval: "
            "bootstrap over questions, the trained models held fixed"
        )
        notes.append(
            "p (Holm): exact McNemar test of that difference, a question counted once over its seeds, adjusted over the "
            f"{len(differences)} of this table; * < 0.05, ** < 0.01, *** < 0.001"
        )
    notes += _detectable_notes(pools, baseline)
    notes += [f"right or wrong: decided by the LLM judge '{judge}'" for judge in judges]
    return fill(pools, columns, notes)


def shared_notes(every: Sequence[Pool], shown: Sequence[Pool]) -> list[str]:
    """Where a checkpoint is that several runs list, if there is one, and in what the arms shown were made equal."""
    notes = ["run: of a checkpoint that several runs share, the first of them"] if len(shown) < len(every) else []
    rows = [row for pool in shown for row in pool.rows if row.equal]
    phrases = {(row.arm, row.equal) for row in rows}
    ambiguous = {arm for arm, count in Counter(arm for arm, _ in phrases).items() if count > 1}
    arms_by_equal: dict[str, dict[str, None]] = {}
    for row in rows:
        arm = f"{row.run}:{row.arm}" if row.arm in ambiguous else row.arm
        arms_by_equal.setdefault(row.equal, {})[arm] = None
    equal = "; ".join(f"{what} ({', '.join(arms)})" for what, arms in arms_by_equal.items())
    return [*notes, f"equal between arms: {equal}"] if equal else notes


def leading_columns(pools: Sequence[Pool]) -> list[Column]:
    """What names the line: arm and iteration always, run, data and beta where they differ between lines."""
    keys = [pool.checkpoint for pool in pools]
    optional = [
        (len({key.run for key in keys}), Column("run", lambda pool: pool.checkpoint.run)),
        (
            len({(key.data, key.split) for key in keys}),
            Column("data", lambda pool: f"{pool.checkpoint.data} {pool.checkpoint.split}"),
        ),
        (len({key.beta for key in keys if key.beta is not None}), Column("beta", _beta)),
    ]
    return [
        Column("arm", lambda pool: pool.title),
        *(column for num_values, column in optional if num_values > 1),
        Column("iteration", lambda pool: str(pool.checkpoint.iteration)),
    ]


def fill(pools: Sequence[Pool], columns: Sequence[Column], notes: Sequence[str]) -> Table:
    """A table with one line per pool."""
    header = tuple(column.heading for column in columns)
    return Table(header, tuple(tuple(column.cell(pool) for column in columns) for pool in pools), tuple(notes))


def bounds(low: float, high: float, *, num_seeds: int) -> str:
    """An interval in percent: a single seed's in brackets, else the lowest and highest seed."""
    return f"[{percent(low)}, {percent(high)}]" if num_seeds == 1 else f"{percent(low)} … {percent(high)}"


def sizes(counts: Iterable[int]) -> str:
    """Numbers of questions, one per seed: 200, 3 × 200, or 200 + 180."""
    each = list(counts)
    if len(each) == 1:
        return str(each[0])
    return f"{len(each)} × {each[0]}" if len(set(each)) == 1 else " + ".join(map(str, each))


def percent(share: float | None) -> str | None:
    """A share as percent with one decimal."""
    return None if share is None else f"{100 * share:.1f}"


def whole(value: float | None) -> str | None:
    """A number without decimals, thousands parted by commas."""
    return None if value is None else f"{value:,.0f}"


def _chance_notes(pools: Sequence[Pool]) -> list[str]:
    """Per data set and split, what guessing and always giving the commonest letter would score."""
    notes = []
    for data, split in dict.fromkeys((pool.checkpoint.data, pool.checkpoint.split) for pool in pools):
        rows = [row for pool in pools for row in pool.rows if (row.data, row.split) == (data, split)]
        chance = sum(row.chance for row in rows) / len(rows)
        commonest = sum(row.commonest_letter_accuracy for row in rows) / len(rows)
        notes.append(f"{data} {split}: chance {percent(chance)} %, always the commonest letter {percent(commonest)} %")
    return notes


def _interval_notes(pools: Sequence[Pool]) -> list[str]:
    notes = []
    levels = sorted({row.confidence for pool in pools if len(pool.rows) == 1 for row in pool.rows})
    if levels:
        notes.append(f"[low, high]: Wilson interval, {' or '.join(f'{level:.4g}' for level in levels)} confidence")
    if any(len(pool.rows) > 1 for pool in pools):
        notes.append("low … high: lowest and highest seed; the accuracy is then the mean over seeds")
    return notes


def _detectable_notes(pools: Sequence[Pool], baseline: str | None) -> list[str]:
    """Per data set and split, how small a difference its questions can show, at the baseline's accuracy if there is one."""
    notes = []
    for data, split in dict.fromkeys((pool.checkpoint.data, pool.checkpoint.split) for pool in pools):
        here = [pool for pool in pools if (pool.checkpoint.data, pool.checkpoint.split) == (data, split)]
        bases = [pool for pool in here if pool.checkpoint.arm == baseline] or here
        accuracy = sum(pool.accuracy for pool in bases) / len(bases)
        num_questions = min(row.num_questions for pool in here for row in pool.rows)
        least = minimum_detectable_difference(num_questions, accuracy, power=POWER, alpha=ALPHA)
        notes.append(
            f"{data} {split}: minimum detectable difference {100 * least:.1f} points (n = {num_questions} at accuracy "
            f"{percent(accuracy)} %, {POWER:.0%} power, level {ALPHA:g}, unpaired; pairing lowers it)"
        )
    return notes


def _difference(difference: Difference | None) -> str | None:
    return None if difference is None else _points(difference.value)


def _points(share: float) -> str:
    """Percentage points with their sign; a zero has none of its own."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def _difference_interval(difference: Difference | None) -> str | None:
    return None if difference is None else f"[{_points(difference.low)}, {_points(difference.high)}]"


def _p_value(difference: Difference | None) -> str | None:
    if difference is None:
        return None
    p = difference.p_holm
    shown = "<0.001" if p < 0.001 else f"{p:.3f}"
    mark = next((mark for level, mark in MARKS if p < level), "")
    return shown + mark


def _beta(pool: Pool) -> str | None:
    return None if pool.checkpoint.beta is None else f"{pool.checkpoint.beta:g}"


def _share(row: SummaryRow, count: int | None) -> float | None:
    return None if count is None else count / row.num_questions
