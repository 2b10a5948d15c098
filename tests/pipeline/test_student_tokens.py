"""A whole run at equal student tokens: `compare.at=student_tokens`."""

import pytest
from toy_runs import Run, run_toy

from medcritical.records import Attempt, Correction
from medcritical.reporting.summary import read_summary
from medcritical.store import Manifest, Store, read_json, read_records

ARMS = ("arm=[dpo_teacher,dpo_self,nll_corrections]", "compare.at=student_tokens")
SMALL = "selfplay.budget=70"  # of more, the toy solves all questions before it is spent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_toy(tmp_path_factory.mktemp("student_tokens"), *ARMS, SMALL)


def store_of(run: Run) -> Store:
    return Store(run.folder.parent.parent / "store")


def matched_plays(run: Run) -> list[tuple[Manifest, Manifest]]:
    """Plays that were to equal another one, each with that."""
    store = store_of(run)
    plays = [read_json(path, Manifest) for path in (store.root / "play").glob("*/manifest.json")]
    return [(play, store.manifest(play.inputs["target"])) for play in plays if "target" in play.inputs]


def test_every_play_writes_as_much_as_the_one_it_is_compared_with(run: Run) -> None:
    """Of two arms in two iterations; but the first play of one is that of the arm it is compared with."""
    plays = matched_plays(run)
    assert len(plays) == 3
    for play, target in plays:
        # The last round asks as many as the rest pays for at the mean length of a try.
        assert play.costs.student_tokens == pytest.approx(target.costs.student_tokens, rel=0.05)
        assert play.facts["target_tokens"] == target.costs.student_tokens
        assert not [alarm for alarm in play.facts["alarms"] if alarm.startswith("Tokens not equal")]


def test_an_arm_without_retries_makes_new_attempts(run: Run) -> None:
    store = store_of(run)
    resampled = [play for play, _ in matched_plays(run) if "corrector" not in play.inputs]
    assert len(resampled) == 2
    for play in resampled:
        attempts = list(read_records(store.folder(play.ref) / "attempts.jsonl", Attempt))
        assert not list(read_records(store.folder(play.ref) / "corrections.jsonl", Correction))
        assert sum(attempt.round == 0 for attempt in attempts) < 0.95 * len(attempts)


def test_tables_say_so_and_costs_are_ones_own(run: Run) -> None:
    rows = {(row.arm, row.iteration): row for row in read_summary(run.folder / "summary.json").rows}
    distilled, own = rows["dpo_teacher", 1], rows["dpo_self", 1]
    assert distilled.title.endswith(", same student tokens")
    assert distilled.equal == rows["nll_corrections", 2].equal == "student tokens of dpo_self"
    (first,) = {
        play.costs.student_tokens - target.costs.student_tokens
        for play, target in matched_plays(run)
        if play.inputs["policy"] == target.inputs["policy"]
    }
    assert distilled.student_tokens - own.student_tokens == first
    note = (
        "equal between arms: student tokens of dpo_self (dpo_teacher, nll_corrections); optimizer steps as configured"
    )
    assert note in " ".join(run.stdout.split())


def test_a_play_that_runs_out_of_questions_is_an_alarm(tmp_path_factory: pytest.TempPathFactory) -> None:
    run = run_toy(tmp_path_factory.mktemp("missed"), *ARMS, "selfplay.iterations=1", "selfplay.max_rounds=2")
    ((play, target),) = matched_plays(run)
    spent, wanted = play.costs.student_tokens, target.costs.student_tokens
    assert spent != pytest.approx(wanted, rel=0.05)
    (alarm,) = [alarm for alarm in play.facts["alarms"] if alarm.startswith("Tokens not equal")]
    assert f"play wrote {spent:,}, the play that it is to equal {wanted:,}" in alarm
    assert "Tokens not equal" in " ".join((run.stdout + run.stderr).split())
