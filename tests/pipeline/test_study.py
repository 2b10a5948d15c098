"""Asking Optuna and telling it, with cells left out: accuracy is a formula here."""

from pathlib import Path

import pytest

from medcritical.config.schema import StudyConfig, StudyRange
from medcritical.pipeline.study import Study

pytest.importorskip("optuna", reason="install medcritical[optuna]")

SPACE = {
    "selfplay.beta": StudyRange(low=0.01, high=1.0, log=True),
    "dpo.nll_weight": StudyRange(low=0.0, high=5.0, log=False),
}


def study(folder: Path, trials: int, batch: int = 1, name: str = "one") -> Study:
    return Study(StudyConfig(trials=trials, batch=batch, seed=0, space=SPACE), folder, name)


def go_through(study: Study) -> None:
    while trials := study.ask():
        for trial in trials:
            study.tell(trial, 1 - abs(trial.params["dpo.nll_weight"] - 2) / 5)


def test_every_trial_is_asked_in_range_and_told(tmp_path: Path) -> None:
    one = study(tmp_path, trials=12, batch=5)
    assert [len(one.ask())] == [5]
    one = study(tmp_path, trials=12, batch=5, name="two")
    go_through(one)
    assert len(one.trials()) == 12
    for values, accuracy in one.trials():
        assert 0.01 <= values["selfplay.beta"] <= 1.0
        assert accuracy == pytest.approx(1 - abs(values["dpo.nll_weight"] - 2) / 5)
    best = one.best()
    assert best is not None
    assert best[1] == max(accuracy or 0 for _, accuracy in one.trials())


def test_a_second_launch_goes_on_and_draws_new_values(tmp_path: Path) -> None:
    go_through(study(tmp_path, trials=4))
    again = study(tmp_path, trials=6)
    go_through(again)
    assert len({tuple(values.items()) for values, _ in again.trials()}) == 6
    assert study(tmp_path, trials=6).ask() == []


def test_what_a_killed_launcher_left_open_is_asked_again(tmp_path: Path) -> None:
    (left,) = study(tmp_path, trials=2).ask()
    again = study(tmp_path, trials=2)
    (asked,) = again.ask()
    assert asked.params == left.params
    again.tell(asked, 0.5)
    assert again.trials() == [(left.params, 0.5)]


def test_a_failed_cell_is_a_failed_trial(tmp_path: Path) -> None:
    one = study(tmp_path, trials=1)
    (trial,) = one.ask()
    one.tell(trial, None)
    assert one.trials() == [(trial.params, None)]
    assert one.best() is None
    assert one.ask() == []


def test_the_same_study_in_another_folder_asks_the_same(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        one = study(tmp_path / name, trials=3)
        go_through(one)
        found.append(one.trials())
    assert found[0] == found[1]
