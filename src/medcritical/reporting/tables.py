"""The table of scores, and what all tables are made of. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from medcritical.evaluation.power import POWER
from medcritical.evaluation.statistics import minimum_detectable_difference
from medcritical.reporting.measuring import Bounds, Difference, Measured
from medcritical.reporting.pooling import Checkpoint, Pool, distinct, group_replicates, pool_seeds, shared_kind
from medcritical.reporting.summary import SummaryRow

MARKS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
SEED_KINDS = ("questions", "teacher", "training")


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


def result_table(rows: Sequence[SummaryRow], measured: Measured) -> Table:
    """One line per checkpoint: accuracy and its interval, sound and unparsed shares, difference to the baseline, n.

    Shares are in percent and differences in percentage points, means over seeds. Undecided answers have a column where a judge
    decided. Raises DataError as `pool_seeds` does.
    """
    every = pool_seeds(rows)
    pools, differences = distinct(every), measured.differences
    judges = list(dict.fromkeys(row.verifier for row in rows if row.verifier != "exact"))

    def share(name: str) -> Callable[[Pool], str | None]:
        return lambda pool: percent(pool.mean(_share(row, getattr(row, name)) for row in pool.samples))

    columns = [
        *leading_columns(pools),
        Column("accuracy %", lambda pool: percent(pool.accuracy)),
        Column(
            interval_heading(pools, measured.confidence), lambda pool: bounds(measured.intervals.get(pool.checkpoint))
        ),
        Column("sound %", share("sound")),
        Column("unparsed %", share("unparsed")),
        *([Column("undecided %", share("undecided"))] if judges else []),
        Column("difference", lambda pool: _difference(differences.get(pool.checkpoint))),
        Column("its interval", lambda pool: _difference_interval(differences.get(pool.checkpoint))),
        Column("p (Holm)", lambda pool: _p_value(differences.get(pool.checkpoint), differences)),
        Column("n", lambda pool: sizes(row.num_questions for row in pool.samples)),
    ]
    notes = [*shared_notes(every, pools), *_chance_notes(pools), seed_note(pools)]
    notes += [
        *interval_notes(pools, measured.confidence),
        *difference_notes(measured.baseline, differences, "p (Holm)"),
    ]
    notes += _detectable_notes(pools, measured)
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


def bounds(interval: Bounds | None) -> str | None:
    """An interval in percent."""
    return None if interval is None else f"[{percent(interval[0])}, {percent(interval[1])}]"


def sizes(counts: Iterable[int]) -> str:
    """Numbers of questions, one per seed: 200, 3 × 200, or 200 + 180."""
    each = list(counts)
    if len(each) == 1:
        return str(each[0])
    return f"{len(each)} × {each[0]}" if len(set(each)) == 1 else " + ".join(map(str, each))


def percent(share: float | None) -> str | None:
    """A share as percent with one decimal."""
    return None if share is None else f"{100 * share:.1f}"


def points(share: float) -> str:
    """Percentage points with their sign; a zero has none of its own."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


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


def level(confidence: float) -> str:
    """A level of confidence in percent."""
    return f"{100 * confidence:.6g} %"


def interval_heading(pools: Sequence[Pool], confidence: float) -> str:
    """The heading of intervals; where every checkpoint has one seed it says that questions alone are what varies."""
    return f"{level(confidence)} {'interval' if _has_several_seeds(pools) else 'over questions'}"


def interval_notes(pools: Sequence[Pool], confidence: float) -> list[str]:
    """What the intervals of accuracies are."""
    notes = []
    if any(len(pool.samples) > 1 for pool in pools):
        notes.append(f"[low, high] of several seeds: {level(confidence)} interval that counts seeds and questions")
    if any(len(pool.samples) == 1 for pool in pools):
        notes.append(f"[low, high] of one seed: {level(confidence)} Wilson interval, over questions only")
    return notes


def seed_note(pools: Sequence[Pool]) -> str:
    """How many replicates there are, which of the three seeds vary between them, and which replicates count as one."""
    replicates = sorted({row.replicate for pool in pools for row in pool.rows})
    if len(replicates) < 2:
        return "one seed: intervals and tests are over questions only, and say nothing of what another seed would give"
    of_kind = dict(zip(SEED_KINDS, zip(*replicates, strict=True), strict=True))
    vary = [kind for kind, seeds in of_kind.items() if len(set(seeds)) > 1]
    same = [kind for kind in of_kind if kind not in vary]
    fewer = ", fewer where n says so" if any(len(pool.samples) < len(replicates) for pool in pools) else ""
    told = f"; {_listed(same)} {'is' if same in (['teacher'], ['training']) else 'are'} the same in all" if same else ""
    grouped = f"; {note}" if (note := group_note(pools)) else ""
    return f"{len(replicates)} seeds of {_listed(vary)}{fewer}{told}{grouped}"


def group_note(pools: Sequence[Pool]) -> str:
    """Which replicates count as one; empty where each counts for itself."""
    replicates = [*{row.replicate for pool in pools for row in pool.rows}]
    kind = shared_kind(replicates)
    if kind is None:
        return ""
    return (
        f"those with the same seed of {('questions', 'the teacher')[kind]} are averaged first and count as one: "
        f"{len(group_replicates(replicates))} in intervals and tests"
    )


def difference_notes(baseline: str | None, differences: Mapping[Checkpoint, Difference], where: str) -> list[str]:
    """What differences are and which tests gave their p values, shown `where`; nothing without differences."""
    if not differences:
        return []
    over_seeds = "t test over seeds and questions (Cochran and Cox)"
    tests = {
        (True, False): f"{over_seeds}",
        (False, True): "exact McNemar test, over questions only",
        (True, True): f"{over_seeds}; with one seed exact McNemar test, over questions only and without stars",
    }
    counts_seeds = [difference.num_seeds > 1 for difference in differences.values()]
    partial = [checkpoint.arm for checkpoint, difference in differences.items() if difference.num_unpaired]
    flat = [checkpoint.arm for checkpoint, difference in differences.items() if difference.is_flat]
    return [
        f"difference: percentage points to arm '{baseline}', paired by seed and question",
        *(
            [f"difference of {_names(partial)}: over the questions that both sides count, fewer than n"]
            if partial
            else []
        ),
        f"{where}: {tests[any(counts_seeds), not all(counts_seeds)]}; Holm-adjusted over the {len(differences)} of this table; "
        "* < 0.05, ** < 0.01, *** < 0.001",
        *(
            [f"all seeds of {_names(flat)} gain the same: interval and p over questions only, without stars"]
            if flat
            else []
        ),
    ]


def stars(difference: Difference, differences: Mapping[Checkpoint, Difference]) -> str:
    """The mark of a difference's adjusted p value. None for a test over questions only where there are several seeds."""
    if difference.is_flat or (difference.num_seeds == 1 and any(each.num_seeds > 1 for each in differences.values())):
        return ""
    return next((mark for limit, mark in MARKS if difference.p_holm < limit), "")


def _detectable_notes(pools: Sequence[Pool], measured: Measured) -> list[str]:
    """Per data set and split, how small a difference one seed's questions can show, at the baseline's accuracy if there is one.

    With several seeds it depends on how these vary, which `medcritical report --power` knows.
    """
    notes = []
    for data, split in dict.fromkeys((pool.checkpoint.data, pool.checkpoint.split) for pool in pools):
        here = [pool for pool in pools if (pool.checkpoint.data, pool.checkpoint.split) == (data, split)]
        if _has_several_seeds(here):
            continue
        bases = [pool for pool in here if pool.checkpoint.arm == measured.baseline] or here
        accuracy = sum(pool.accuracy for pool in bases) / len(bases)
        num_questions = min(row.num_questions for pool in here for row in pool.rows)
        least = minimum_detectable_difference(num_questions, accuracy, power=POWER, confidence=measured.confidence)
        notes.append(
            f"{data} {split}: minimum detectable difference {100 * least:.1f} points (n = {num_questions} at accuracy "
            f"{percent(accuracy)} %, {POWER:.0%} power, level {1 - measured.confidence:.4g}, unpaired; pairing lowers it, "
            "variation between seeds raises it)"
        )
    return notes


def _difference(difference: Difference | None) -> str | None:
    return None if difference is None else points(difference.value)


def _difference_interval(difference: Difference | None) -> str | None:
    return None if difference is None else f"[{points(difference.low)}, {points(difference.high)}]"


def _p_value(difference: Difference | None, differences: Mapping[Checkpoint, Difference]) -> str | None:
    if difference is None:
        return None
    shown = "<0.001" if difference.p_holm < 0.001 else f"{difference.p_holm:.3f}"
    return shown + stars(difference, differences)


def _has_several_seeds(pools: Sequence[Pool]) -> bool:
    return any(len(pool.samples) > 1 for pool in pools)


def _names(arms: Iterable[str]) -> str:
    return ", ".join(f"'{arm}'" for arm in dict.fromkeys(arms))


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _beta(pool: Pool) -> str | None:
    return None if pool.checkpoint.beta is None else f"{pool.checkpoint.beta:g}"


def _share(row: SummaryRow, count: int | None) -> float | None:
    return None if count is None else count / row.num_questions
