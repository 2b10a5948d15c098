"""Stages made by ranks that torchrun starts: a rank that dies, a stop, what is refused, two machines."""

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from ranked_runs import PATIENCE, RANKS, execute, fault, rows_of, start_command, trained_models

from configurations import configure
from medcritical.config.choices import StrategyKind
from medcritical.errors import ConfigError
from medcritical.pipeline.execute import StageFailed
from medcritical.pipeline.launchers import free_port
from medcritical.pipeline.ranked import check_programs
from medcritical.pipeline.run_folder import run_folders


@pytest.mark.timeout(PATIENCE)
def test_a_rank_that_is_killed_is_named_and_the_stage_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, call, _ = execute(tmp_path / "alone")
    for name, value in fault(tmp_path / "killed", 1, "SIGKILL", "step-00000030").items():
        monkeypatch.setenv(name, value)
    store, same, seen = execute(tmp_path / "ranks", *RANKS, "strategy=zero2")
    shown = seen.getvalue()
    assert same.ref == call.ref
    assert "sft (stage 1) failed: rank 1 died without a word" in shown
    assert "starting again, 1 of 2 times" in shown
    assert "goes on from its checkpoint after step 20." in shown
    assert shown.index("rank 1 died") < shown.index("goes on from")
    one, two = rows_of(alone, call), rows_of(store, call)
    assert [row["step"] for row in two] == list(range(1, 61))
    assert [row["train/loss"] for row in two] == pytest.approx([row["train/loss"] for row in one], rel=1e-3)
    assert [row["train/loss"] for row in two[:20]] == pytest.approx([row["train/loss"] for row in one[:20]], rel=1e-5)
    made = store.manifest(call.ref).environment
    assert made is not None
    assert (made.ranks, made.strategy, made.arithmetic) == (2, "zero2", "float32")
    assert made.packages["deepspeed"] is not None
    assert not store.unfinished(call.ref).exists()
    assert [path.name for path in (tmp_path / "ranks" / "run").iterdir()] == ["work.json", "worker.log"]


@pytest.mark.slow
def test_a_rank_that_dies_when_the_artefact_is_complete_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in fault(tmp_path / "killed", 0, "SIGKILL", ".executions.jsonl").items():  # after the manifest
        monkeypatch.setenv(name, value)
    store, call, seen = execute(tmp_path, *RANKS, "strategy=ddp", "sft.steps=6")
    assert (tmp_path / "killed").is_file()
    assert "starting again" not in seen.getvalue()
    assert store.is_complete(call.ref)


@pytest.mark.slow
def test_faults_of_the_user_are_told_once_and_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="longer than max_length=16") as failed:
        execute(tmp_path, *RANKS, "sft.max_length=16")
    assert failed.value.exit_code == 2
    log = (tmp_path / "run" / "worker.log").read_text(encoding="utf-8")
    assert log.count("longer than max_length=16") <= 4  # by two ranks, each with its traceback


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize("strategy", ["zero2_offload", "zero3_offload"])
def test_offloading_trains_alike(tmp_path: Path, strategy: str) -> None:
    """DeepSpeed compiles its CPU Adam at the first start: minutes, once on a machine."""
    try:
        check_programs(StrategyKind(strategy))
    except ConfigError as missing:
        pytest.skip(str(missing))
    steps, limit = "sft.steps=20", "cluster.timeout_seconds=900"
    alone, call, _ = execute(tmp_path / "alone", steps)
    store, same, _ = execute(tmp_path / "ranks", *RANKS, steps, limit, f"strategy={strategy}")
    assert same.ref == call.ref
    losses = [[row["train/loss"] for row in rows_of(*made)] for made in ((alone, call), (store, same))]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_programs_that_are_missing_are_named_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    check_programs(StrategyKind.ddp)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"strategy=zero3_offload builds .*needs a C\+\+ compiler.*strategy=zero3"):
        check_programs(StrategyKind.zero3_offload)
    check_programs(StrategyKind.zero3)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"strategy=zero2 needs DeepSpeed: run `pip install"):
        check_programs(StrategyKind.zero2)


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["cluster.nproc_per_node=2"], "set cluster=torchrun"),
        (["strategy=zero2"], "set cluster=torchrun"),
        (["cluster=torchrun", "cluster.nproc_per_node=3"], "sft.batch_size=16 cannot be shared evenly by 3 ranks"),
        (["cluster=torchrun", "cluster.nnodes=2"], "cluster.rdzv_endpoint='' must be HOST:PORT"),
        (["cluster=torchrun", "cluster.nnodes=2", "cluster.rdzv_endpoint=h:65500"], "the port must be 1 to 65436"),
        (["cluster=torchrun", "cluster.node_rank=1"], "cluster.node_rank=1 must be below cluster.nnodes=1"),
    ],
)
def test_wrong_counts_are_refused(overrides: Sequence[str], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        configure(*overrides)


@pytest.fixture
def free_endpoint() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Commands that a test has started; those that still run at its end are stopped."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.terminate()
            process.wait(200)


def medcritical(started: list[subprocess.Popen[str]], root: Path, *overrides: str) -> subprocess.Popen[str]:
    started.append(start_command(root, *overrides))
    return started[-1]


@pytest.mark.slow
@pytest.mark.timeout(4 * PATIENCE)
def test_a_whole_run_by_ranks_and_one_that_is_stopped_in_between_end_alike(
    started: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    roots = [tmp_path / name for name in ("whole", "stopped")]
    for root in roots:
        root.mkdir()
    whole = medcritical(started, roots[0], *RANKS, "strategy=zero3")
    told = whole.communicate(timeout=PATIENCE)[1]
    assert whole.returncode == 0, told
    stopped = medcritical(started, roots[1], *RANKS, "strategy=zero3")
    while not list((roots[1] / "store").glob("sft/*/metrics.jsonl")):
        time.sleep(0.05)
    stopped.send_signal(signal.SIGUSR1)
    assert stopped.communicate(timeout=PATIENCE)[1].endswith("the same command goes on from here.\n")
    assert stopped.returncode == 143
    assert list((roots[1] / "store").glob("sft/.*.unfinished/step-*/complete.json"))
    again = medcritical(started, roots[1], *RANKS, "strategy=zero3")
    told = again.communicate(timeout=PATIENCE)[1]
    assert again.returncode == 0, told
    assert "goes on from its checkpoint" in told
    models = [dict(trained_models(root)) for root in roots]
    assert models[0].keys() == models[1].keys()
    assert len(models[0]) == 2
    for name, model in models[0].items():
        assert all(torch.equal(weight, models[1][name][key]) for key, weight in model.items()), name


@pytest.mark.slow
@pytest.mark.timeout(4 * PATIENCE)
def test_two_machines_make_a_run_together(started: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    """Two commands on this host that share store and outputs, as in one home folder, and meet over loopback."""
    nodes = [
        medcritical(
            started,
            tmp_path,
            *("cluster=torchrun", "cluster.nnodes=2", f"cluster.node_rank={rank}", "cluster.timeout_seconds=60"),
            *("cluster.rdzv_endpoint=127.0.0.1:29700", "strategy=zero2"),
        )
        for rank in (0, 1)
    ]
    for node in nodes:
        told = node.communicate(timeout=PATIENCE)[1]
        assert node.returncode == 0, told
    (results,) = (tmp_path / "outputs").rglob("summary.json")  # once, where a person and a report look for it
    assert (results.parent / "table.csv").is_file()
    for folder in (results.parent, results.parent / "machine-1"):
        assert {"config.json", "plan.json", "worker.log"} < {path.name for path in folder.iterdir()}
    assert [folder.path for folder in run_folders(tmp_path / "outputs")] == [results.parent]
    assert len(list(trained_models(tmp_path))) == 2


def test_a_machine_that_never_comes_is_named_and_waited_for_once(tmp_path: Path, free_endpoint: str) -> None:
    alone = ("cluster.nproc_per_node=1", "cluster.nnodes=2", f"cluster.rdzv_endpoint={free_endpoint}")
    before = time.monotonic()
    with pytest.raises(StageFailed, match=r"machine 1 of 2 did not come within cluster\.timeout_seconds=5: ") as failed:
        execute(tmp_path, RANKS[0], *alone, "cluster.timeout_seconds=5", "data.sizes.train=50", "sft.templates=10")
    print(f"{time.monotonic() - before:.1f} s, with all that one process makes before")
    assert failed.value.exit_code == 2
    assert len(list((tmp_path / "store").glob("sft/.*.unfinished/start-*"))) == 1


@pytest.mark.slow
@pytest.mark.timeout(4 * PATIENCE)
def test_a_machine_that_does_not_share_the_store_says_so(started: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    node = medcritical(
        started,
        tmp_path,
        *("cluster=torchrun", "cluster.nnodes=2", "cluster.node_rank=1", "cluster.rdzv_endpoint=127.0.0.1:29700"),
        "cluster.timeout_seconds=2",
    )
    assert "nobody answered at cluster.rdzv_endpoint=127.0.0.1:29700" in node.communicate(timeout=PATIENCE)[1]
    assert node.returncode == 2
