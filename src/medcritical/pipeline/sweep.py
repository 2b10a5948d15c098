"""A sweep: its cells, what they have in common, what is left to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medcritical.pipeline.estimate import Estimate, describe_price, estimate, prices_of
from medcritical.pipeline.pace import Pace
from medcritical.pipeline.plan import StageCall
from medcritical.pipeline.run import Run, prepare_run


@dataclass(frozen=True)
class Cell:
    """One point of a sweep. `overrides` make its configuration, `swept` are those in which it differs from others."""

    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    run: Run

    def __str__(self) -> str:
        return " ".join([self.run.folder.name, *self.swept])


@dataclass(frozen=True)
class Missing:
    """One call that no cell has made yet."""

    call: StageCall
    cost: Estimate


def distinct(cells: Iterable[Cell]) -> list[Cell]:
    """The cells without those whose configuration is that of an earlier one: their results are the same."""
    return list({cell.run.folder.path: cell for cell in reversed(list(cells))}.values())[::-1]


def in_launching_order(cells: Iterable[Cell]) -> list[Cell]:
    """Cells with the most to do first.

    A chain of T iterations holds those of all smaller T: launched first, it leaves them a report to write, and cells
    that run side by side begin with what they do not share.
    """
    return sorted(cells, key=lambda cell: -len(cell.run.missing()))


def prepare_cells(cells: Iterable[Cell], pace: Pace) -> None:
    """Make every cell's folder and write there what is planned, before the first stage of the first one starts."""
    for cell in cells:
        prepare_run(cell.run, pace, cell.swept)


def describe_sweep(cells: Sequence[Cell], pace: Pace) -> str:
    """One line per hub model and cell, what all of them need with shared stages counted once, and what separate runs would."""
    lines, missing = list(dict.fromkeys(str(model) for cell in cells for model in cell.run.hub_models)), {}
    for cell in cells:
        own = {call.ref.key: Missing(call, estimate(call, cell.run.plan, pace)) for call in cell.run.missing()}
        shared = sum(key in missing for key in own)
        missing.update(own)
        calls = cell.run.plan.calls
        lines.append(
            f"cell  {cell}\n      {len(calls)} stages: {len(calls) - len(own)} done, {len(own)} to run, "
            f"{shared} of these shared with cells above; {Estimate.sum(each.cost for each in own.values())}."
        )
    needed = {call.ref.key: call for cell in cells for call in cell.run.plan.calls}
    separate = sum(len(cell.run.plan.calls) for cell in cells)
    by_stage = Counter(each.call.ref.stage for each in missing.values())
    total = Estimate.sum(each.cost for each in missing.values())
    lines.append(
        f"TOTAL over {len(cells)} cells, shared stages once: {len(needed)} stages ({separate} if nothing were shared): "
        f"{len(needed) - len(missing)} done, {len(missing)} to run; {total}."
    )
    prices = prices_of(cells[0].run.plan)
    if prices is not None:
        lines.append(describe_price(total.costs, prices))
    if missing:
        lines.append(f"to run: {', '.join(f'{stage} {count}' for stage, count in by_stage.items())}.")
    return "\n".join(lines)
