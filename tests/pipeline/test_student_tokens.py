"""A whole run at equal student tokens: `compare.at=student_tokens`."""

import pytest
from toy_runs import Run, run_toy

from medcritical.records import Attempt, Correction
from medcritical.reporting.summary import read_summary
from medcritical.store import Manifest, Store, read_json, read_records

SMALL = ("selfplay.iterations=1", "selfplay.budget=70")  # of more, the toy solves all questions before it is spent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("student_tokens")
    return run_toy(root, "arm=[dpo_teacher,dpo_self]", "compare.at=student_tokens", *SMALL)


def plays(run: Run) -> tuple[Store, Manifest, Manifest]:
    """The store; the play of the arm that is compared with, and of the one that is to equal it."""
    store = Store(run.folder.parent.parent / "store")
    manifests = [read_json(path, Manifest) for path in (store.root / "play").glob("*/manifest.json")]
    own, matched = sorted(
        (m for m in manifests if "corrector" in m.inputs or "target" in m.inputs), key=lambda m: "target" in m.inputs
    )
    return store, own, matched


def test_an_arm_without_retries_samples_as_much_as_the_one_it_is_compared_with(run: Run) -> None:
    store, own, matched = plays(run)
    assert matched.inputs["target"] == own.ref
    attempts = list(read_records(store.folder(matched.ref) / "attempts.jsonl", Attempt))
    assert not list(read_records(store.folder(matched.ref) / "corrections.jsonl", Correction))
    assert len({attempt.round for attempt in attempts}) > 1
    # The last round asks as many as the rest pays for at the mean length of a try.
    assert matched.costs.student_tokens == pytest.approx(own.costs.student_tokens, rel=0.05)
    fewer = sum(attempt.round == 0 for attempt in attempts) / len(attempts)
    assert fewer * matched.costs.student_tokens < 0.95 * own.costs.student_tokens  # attempts alone would not come near


def test_tables_say_so_and_costs_are_ones_own(run: Run) -> None:
    _, own, matched = plays(run)
    rows = {row.arm: row for row in read_summary(run.folder / "summary.json").rows if row.iteration == 1}
    assert rows["dpo_teacher"].title.endswith(", same student tokens")
    assert rows["dpo_teacher"].equal == "student tokens of dpo_self"
    difference = rows["dpo_teacher"].student_tokens - rows["dpo_self"].student_tokens
    assert difference == matched.costs.student_tokens - own.costs.student_tokens
    assert "equal between arms: " in (run.folder / "table.md").read_text(encoding="utf-8")


def test_a_note_in_the_printed_table(run: Run) -> None:
    assert "student tokens of dpo_self (dpo_teacher)" in run.stdout.replace("\n", " ")
