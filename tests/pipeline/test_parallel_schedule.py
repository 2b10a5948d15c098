"""Which call begins when, and how many workers there are."""

import dataclasses
import os

import pytest

from configurations import configure
from medcritical.config.schema import ClusterConfig, TrainerConfig
from medcritical.pipeline.plan import StageCall, make_plan
from medcritical.pipeline.schedule import MOST_WORKERS, Schedule, num_workers


@pytest.fixture(scope="module")
def calls() -> tuple[StageCall, ...]:
    return make_plan(configure("arm=[dpo_self,rejection_sft_tokens]"), {}).calls


def drain(calls: tuple[StageCall, ...], workers: int) -> list[StageCall]:
    """The order in which calls begin where all take equally long; every call's inputs must be done by then."""
    schedule, begun, running, done = Schedule(calls), [], [], set()
    here = {call.ref.key for call in calls}
    while True:
        while len(running) < workers and (call := schedule.take()) is not None:
            assert {ref.key for ref in call.inputs.values()} & here <= done
            running.append(call)
            begun.append(call)
        if not running:
            return begun
        first = running.pop(0)
        done.add(first.ref.key)
        schedule.finish(first.ref.key)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_call_is_made_once_and_after_its_inputs(calls: tuple[StageCall, ...], workers: int) -> None:
    begun = drain(calls, workers)
    assert sorted(call.ref.key for call in begun) == sorted(call.ref.key for call in calls)
    assert begun[-1].ref.stage == "report"


def test_what_others_wait_for_goes_before_scores(calls: tuple[StageCall, ...]) -> None:
    schedule, labels = Schedule(calls), []
    for _ in range(3):  # questions, the student, then either its score or the teacher's thoughts on the way to all else
        call = schedule.take()
        assert call is not None
        schedule.finish(call.ref.key)
        labels.append(call.ref.stage)
    assert labels[2:] == ["teach"]


def test_inputs_of_finished_stages_are_not_awaited(calls: tuple[StageCall, ...]) -> None:
    assert [call.ref.stage for call in drain(calls[-1:], 2)] == ["report"]


def test_workers_follow_cores_where_threads_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure("arm=dpo_self")
    cluster: ClusterConfig = config.cluster
    trainer: TrainerConfig = dataclasses.replace(config.trainer, threads=1)
    cores = {2: 2, 1: 1, 64: MOST_WORKERS}
    for number, workers in cores.items():
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, number=number: set(range(number)))
        assert num_workers(cluster, trainer) == workers
    assert num_workers(cluster, dataclasses.replace(trainer, threads=None)) == 1
    assert num_workers(dataclasses.replace(cluster, isolate=True), trainer) == 1
    assert num_workers(dataclasses.replace(cluster, workers=3), trainer) == 3
