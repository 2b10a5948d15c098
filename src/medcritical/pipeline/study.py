"""An Optuna study over cells, by ask and tell: which values come next, and what is told of a cell that ended.

The study lives in a SQLite file, so that a second launch goes on where the first one stopped. A trial whose cell was not
ended (a killed launcher, a cell that never started because another failed) is asked again by the next launch with the same
values: what its cell has made already is in the store.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcritical.config.schema import StudyConfig, StudyRange
from medcritical.errors import ConfigError
from medcritical.reporting.summary import read_summary
from medcritical.store.hashing import derive_seed

if TYPE_CHECKING:
    import optuna

STUDY_FILE = "study.db"
_FAILED = "failed"  # marks a trial whose cell failed; one that was only left behind has no such mark
Values = Mapping[str, float]


class Study:
    """The study of one base configuration in a folder. Use it under `hold`, one launcher at a time."""

    def __init__(self, config: StudyConfig, folder: Path, name: str) -> None:
        """Open the study `name`, making it where it is missing. Raises ConfigError without Optuna."""
        optuna = _optuna()
        self._config = config
        self._study = optuna.create_study(
            storage=f"sqlite:///{(folder / STUDY_FILE).resolve()}",
            study_name=name,
            direction="maximize",
            load_if_exists=True,
        )
        self._ask_unended_again()
        told = len(self._ended())
        # A sampler's own numbers begin anew with every launch; so must they with every number of told trials.
        self._study.sampler = optuna.samplers.TPESampler(seed=derive_seed(config.seed, "study", told))

    @property
    def left(self) -> int:
        """How many trials are still to be asked for."""
        return max(0, self._config.trials - len(self._ended()))

    def ask(self) -> list[optuna.Trial]:
        """The next trials, at most `batch` of them; their `params` are the values."""
        space = {key: _distribution(span) for key, span in self._config.space.items()}
        return [self._study.ask(space) for _ in range(min(self._config.batch, self.left))]

    def tell(self, trial: optuna.Trial, accuracy: float | None) -> None:
        """What the cell of a trial ended at; None when it failed."""
        from optuna.trial import TrialState

        if accuracy is None:
            trial.set_user_attr(_FAILED, True)
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, accuracy)

    def best(self) -> tuple[Values, float] | None:
        """Values and accuracy of the best trial; None before one has succeeded."""
        with contextlib.suppress(ValueError):  # what Optuna says to a study with nothing in it
            return self._study.best_params, self._study.best_value
        return None

    def trials(self) -> Sequence[tuple[Values, float | None]]:
        """Values and accuracy (None: failed) of every ended trial, in the order of asking."""
        return [(trial.params, trial.value) for trial in self._ended()]

    def _ended(self) -> list[optuna.trial.FrozenTrial]:
        """Trials whose cell has ended, well or not."""
        return [trial for trial in self._study.trials if trial.value is not None or trial.user_attrs.get(_FAILED)]

    def _ask_unended_again(self) -> None:
        """Close what the last launch left open, and put the same values first."""
        from optuna.trial import TrialState

        for trial in self._study.get_trials(states=[TrialState.RUNNING]):
            self._study.tell(trial.number, state=TrialState.FAIL)
            self._study.enqueue_trial(trial.params)


def final_accuracy(summary: Path, arm: str) -> float:
    """The accuracy (share of questions) of an arm after its last iteration."""
    rows = [row for row in read_summary(summary).rows if row.arm == arm]
    return max(rows, key=lambda row: row.iteration).accuracy


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ConfigError("sweep.study needs Optuna: pip install 'medcritical[optuna]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(span: StudyRange) -> optuna.distributions.FloatDistribution:
    from optuna.distributions import FloatDistribution

    return FloatDistribution(span.low, span.high, log=span.log)


def corners(config: StudyConfig) -> tuple[Values, Values]:
    """All least values and all greatest ones: configurations that must be right before the first trial."""
    spans: Mapping[str, StudyRange] = config.space
    return {key: spans[key].low for key in spans}, {key: spans[key].high for key in spans}
