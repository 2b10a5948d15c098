"""Shares of a call: dealt by stride, kept on disk when they are whole, and not made again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from configurations import configure
from medcritical.config.choices import EngineKind, Precision
from medcritical.generation.engine import PartlyAnswered, Sampling, Usage
from medcritical.records import Completion, Prompt
from medcritical.stages import spread
from medcritical.stages.context import Output
from medcritical.stages.spread import Opening, SpreadEngine, spread_engine
from medcritical.training.ranks import Ranks

SAMPLING = Sampling(temperature=1, top_p=1, max_new_tokens=4, batch_tokens=2)
CONFIG = configure("trainer.accelerator=cpu")
OPENING = Opening(replace(CONFIG.engine, keep_every=4), None, "model", Precision.auto)
PROMPTS = [Prompt(system="", user=text) for text in ("a", "b", "a", "c", "d", "e")]


class Echo:
    """Answers with the prompt, its place and the sample's number; refuses some. Two tokens read and one written each."""

    def __init__(self, refused: Sequence[str] = ()) -> None:
        self.refused, self.usage, self.asked = refused, Usage(), list[str]()

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        samples: int = 1,
        seed: int,
        on_progress: Callable[[int, int], None] | None = None,
        places: Sequence[int] | None = None,
    ) -> list[list[Completion]]:
        assert places is not None
        self.asked += [prompt.user for prompt in prompts]
        texts = [
            [f"{prompt.user}{place}{sample}" for sample in range(samples)]
            for prompt, place in zip(prompts, places, strict=True)
        ]
        answers = [
            [Completion(text=t, prompt_tokens=2, completion_tokens=1, is_finished=True) for t in ts] for ts in texts
        ]
        self.usage.add(Usage(prompt_tokens=2 * len(prompts), completion_tokens=samples * len(prompts)))
        if on_progress is not None:
            on_progress(len(prompts) * samples, len(prompts) * samples)
        reasons = {number: "refused" for number, prompt in enumerate(prompts) if prompt.user in self.refused}
        if reasons:
            raise PartlyAnswered([None if n in reasons else answer for n, answer in enumerate(answers)], reasons)
        return answers


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., tuple[list[str], Usage]]:
    """The texts and the usage of one call through shares that are kept between calls."""

    def run(engine: Echo, *, seed: int = 1, prompts: Sequence[Prompt] = PROMPTS) -> tuple[list[str], Usage]:
        @contextmanager
        def opened(_: Opening) -> Iterator[Echo]:
            yield engine

        told: list[tuple[int, int]] = []
        output = Output(tmp_path / "out", CONFIG.trainer, lambda *_: None, checkpoints=tmp_path / "kept")
        with spread_engine(OPENING, opened, output) as spread:
            answers = spread.generate(
                prompts, SAMPLING, samples=2, seed=seed, on_progress=lambda done, total: told.append((done, total))
            )
            assert [done for done, total in told if total == 2 * len(prompts)] == sorted(done for done, _ in told)
            return [completion.text for each in answers for completion in each], spread.usage

    return run


def test_answers_come_back_in_order_and_a_second_start_asks_for_nothing(ask) -> None:
    first, second = Echo(), Echo()
    texts, usage = ask(first)
    assert texts == [f"{prompt.user}{place}{sample}" for place, prompt in enumerate(PROMPTS) for sample in range(2)]
    assert first.asked == ["a", "a", "d", "b", "e", "c"], (
        "three shares of about four responses, by stride; equals together"
    )
    assert ask(second) == (texts, usage), "with the tokens that the answers took, whoever made them"
    assert (usage.prompt_tokens, usage.completion_tokens) == (12, 12)
    assert second.asked == []
    other = Echo()
    ask(other, seed=2)
    assert len(other.asked) == 6, "another call"


def test_a_stage_that_goes_on_in_other_arithmetic_mixes_no_answers(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Precision.auto is float32 on a CPU and bfloat16 weights on the GPU that the first start had."""
    on_gpu, on_cpu, again = Echo(), Echo(), Echo()
    with monkeypatch.context() as patched:
        patched.setattr(spread, "resolve_device", lambda _: torch.device("cuda"))
        patched.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
        ask(on_gpu)
    ask(on_cpu)
    assert on_gpu.asked == on_cpu.asked
    ask(again)
    assert again.asked == []


def test_a_share_that_is_damaged_or_missing_is_made_again(ask, tmp_path: Path) -> None:
    texts, _ = ask(Echo())
    first, second, third = sorted((tmp_path / "kept").glob("answers/*/*.json.gz"))
    assert third.name == "00002-of-00003.json.gz"
    whole = first.read_bytes()
    first.write_bytes(whole[:-3] + b"xyz")
    second.unlink()
    again = Echo()
    assert ask(again)[0] == texts
    assert again.asked == ["a", "a", "d", "b", "e"]
    assert first.read_bytes() == whole


def test_prompts_without_answers_are_named_by_their_place_and_asked_again(ask) -> None:
    with pytest.raises(PartlyAnswered, match=r"1 of 6 prompts have no answer\. The first: refused") as partly:
        ask(Echo(refused=["e"]))
    assert partly.value.reasons == {5: "refused"}
    assert [answer is None for answer in partly.value.answers] == [False] * 5 + [True]
    again = Echo()
    ask(again)
    assert again.asked == ["b", "e"]


@pytest.mark.parametrize(
    ("kind", "gpus", "holders"),
    [
        (EngineKind.embedded, 4, [0, 1, 2, 3, 4, 5, 6, 7]),
        (EngineKind.managed, 1, [0, 1, 2, 3, 4, 5, 6, 7]),
        (EngineKind.managed, 2, [0, 2, 4, 6]),
        (EngineKind.managed, 4, [0, 4]),
    ],
)
def test_on_every_machine_as_many_servers_start_as_its_gpus_are_for(
    kind: EngineKind, gpus: int, holders: list[int], tmp_path: Path
) -> None:
    opening = replace(OPENING, config=replace(CONFIG.engine, kind=kind, gpus=gpus))
    ranks = Ranks(rank=0, size=8, local_rank=0, local_size=4)
    assert SpreadEngine(Echo(), opening, ranks, tmp_path, timeout_seconds=1).holders == holders
