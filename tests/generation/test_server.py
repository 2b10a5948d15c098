"""The engine over HTTP against a server that misbehaves: every answer once, nothing paid twice, secrets kept."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chat_server import ChatServer, text_of
from medcritical.config.choices import EngineKind
from medcritical.config.schema import EngineConfig
from medcritical.errors import GenerationError
from medcritical.generation.engine import PartlyAnswered, Sampling
from medcritical.generation.journal import open_journal
from medcritical.generation.server import ServerEngine, read_retry_after
from medcritical.records import Completion, Prompt

SAMPLING = Sampling(temperature=0.5, top_p=0.9, max_new_tokens=64, batch_tokens=1)
FAULTS = ("429 0", "500", "503", "hang", "cut", "cut body", "truncated", "empty", "page")
FATAL = ("400", "401", "403", "404", "422")


def config(**changes: Any) -> EngineConfig:
    values = {
        "kind": EngineKind.server,
        "model": "m",
        "url": "",
        "serves_checkpoint": False,
        "api_key_env": "",
        "command": [],
        "health": "/health",
        "start_timeout": 10.0,
        "concurrency": 16,
        "samples_per_request": 16,
        "extra": {},
        "timeout": 5.0,
        "retries": 8,
        "backoff": 0.005,
        "gpus": 1,
        "keep_every": 100,
    }
    return EngineConfig(**values | changes)


def prompts(number: int) -> list[Prompt]:
    return [Prompt(system="", user=f"question {place}") for place in range(number)]


@contextmanager
def engine(server: ChatServer, folder: Path, **changes: Any) -> Iterator[ServerEngine]:
    with open_journal(folder / "journal.jsonl") as journal:
        yield ServerEngine(server.url, "m", config(**changes), journal)


def ask(server: ChatServer, folder: Path, number: int = 1, *, samples: int = 1, **changes: Any) -> list[list[str]]:
    with engine(server, folder, **changes) as asked:
        answers = asked.generate(prompts(number), SAMPLING, samples=samples, seed=3)
    return texts(answers)


def texts(answers: Sequence[Sequence[Completion]]) -> list[list[str]]:
    return [[completion.text for completion in completions] for completions in answers]


def refused(server: ChatServer, folder: Path, **changes: Any) -> GenerationError:
    with pytest.raises(GenerationError) as caught:
        ask(server, folder, **changes)
    return caught.value


def refusal(server: ChatServer, folder: Path, **changes: Any) -> str:
    return str(refused(server, folder, **changes))


def test_a_thousand_requests_with_a_fifth_of_faults(tmp_path: Path) -> None:
    def behave(request: dict[str, Any], before: int) -> str:
        rng = random.Random(f"{text_of(request)} {before}")
        return rng.choice(FAULTS) if rng.random() < 0.2 else ""

    heard: list[tuple[int, int]] = []
    with ChatServer(behave, hang=4.5) as server, engine(server, tmp_path, timeout=4.0) as asked:
        answers = asked.generate(
            prompts(1000), SAMPLING, seed=3, on_progress=lambda done, total: heard.append((done, total))
        )
    assert [text.split(" (")[0] for (text,) in texts(answers)] == [f"answer to question {n}" for n in range(1000)]
    assert Counter(server.given.values()) == {1: 1000}, "an answer that was given is never asked for again"
    faults = sum(number for fault, number in server.faults.items() if fault)
    assert set(server.faults) == {"", *FAULTS}
    assert (asked.usage.requests, asked.usage.retries) == (1000 + faults, faults)
    assert faults > 150
    assert server.most_at_work <= 2 * 16  # 16 asked at a time; a timed-out handler may still be asleep
    assert heard == [(number, 1000) for number in range(1, 1001)]
    with ChatServer() as unused:
        assert ask(unused, tmp_path, 1000) == texts(answers)
        assert unused.requests == []


def test_concurrency_is_bounded_and_used(tmp_path: Path) -> None:
    with ChatServer(delay=0.2) as server:
        ask(server, tmp_path, 24, concurrency=6)
    assert server.most_at_work == 6


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_is_met_with_another_try(fault: str, tmp_path: Path) -> None:
    with ChatServer(lambda request, before: fault if before < 2 else "", hang=0.3) as server:
        ((text,),) = ask(server, tmp_path, timeout=0.2)
    assert text.startswith("answer to question 0")
    assert server.faults == {fault: 2, "": 1}


@pytest.mark.parametrize("fault", FATAL)
def test_a_lasting_fault_is_not_retried_and_said_in_one_sentence(fault: str, tmp_path: Path) -> None:
    with ChatServer(lambda request, before: fault) as server:
        message = refusal(server, tmp_path)
    assert len(server.requests) == 1
    assert fault in message
    assert server.url in message
    assert "\n" not in message
    if fault == "404":
        assert "knows no model 'm'" in message


def test_a_bare_prompt_goes_to_completions_without_turns(tmp_path: Path) -> None:
    bare = Prompt(system="You are a doctor.", user="question 0", is_bare=True)
    with ChatServer() as server, engine(server, tmp_path) as asked:
        server.write = lambda request: {"choices": [{"text": f"on from {request['prompt']}", "finish_reason": "stop"}]}
        ((answer,),) = asked.generate([bare], SAMPLING, seed=3)
        assert (answer.text, answer.is_finished) == ("on from question 0", True)
        server.write = None
        ((other,),) = asked.generate(prompts(1), SAMPLING, seed=3)
    assert server.paths == ["/v1/completions", "/v1/chat/completions"]
    assert "messages" not in server.requests[0]
    assert other.text.startswith("answer to question 0"), "the journal does not take one for the other"


def test_a_server_is_told_the_only_numbers_it_may_write(tmp_path: Path) -> None:
    with ChatServer() as server, engine(server, tmp_path) as asked:
        asked.generate(prompts(1), msgspec.structs.replace(SAMPLING, only=(1, 2)), seed=3)
        asked.generate(prompts(1), SAMPLING, seed=3)
    limited, free = server.requests
    assert limited["response_format"]["json_schema"]["schema"] == {"enum": [1, 2]}
    assert "response_format" not in free


def refuses_some(request: dict[str, Any], before: int) -> str:
    return {"question 3": "400", "question 5": "500", "question 7": "truncated"}.get(text_of(request), "")


def test_one_prompt_that_fails_does_not_cost_the_others(tmp_path: Path) -> None:
    with (
        ChatServer(refuses_some) as server,
        engine(server, tmp_path, retries=1) as asked,
        pytest.raises(PartlyAnswered, match="3 of 12 prompts have no answer") as caught,
    ):
        asked.generate(prompts(12), SAMPLING, samples=2, seed=3)
    answers, reasons = caught.value.answers, caught.value.reasons
    assert sorted(reasons) == [3, 5, 7]
    assert [answer is None for answer in answers] == [place in (3, 5, 7) for place in range(12)]
    assert "status 500" in reasons[5]
    for place, completions in enumerate(answers):
        assert (
            completions is None
            or [completion.text.split(" (")[0] for completion in completions] == [f"answer to question {place}"] * 2
        )
    assert asked.usage.answers == 18
    assert server.faults == {"": 9, "400": 1, "500": 2, "truncated": 2}


@pytest.mark.parametrize("fault", ["500", "400", "truncated"])
def test_a_server_that_fails_everything_stops_the_work(fault: str, tmp_path: Path) -> None:
    with ChatServer(lambda request, before: fault) as server:
        error = refused(server, tmp_path, number=60, retries=0, concurrency=2)
    assert not isinstance(error, PartlyAnswered)
    assert len(server.requests) <= 12  # ten in a row, and one more on its way


def test_a_server_that_breaks_for_good_stops_the_work(tmp_path: Path) -> None:
    with ChatServer(lambda request, before: "" if len(server.requests) < 8 else "500") as server:
        error = refused(server, tmp_path, number=60, retries=0, concurrency=1)
    assert not isinstance(error, PartlyAnswered)
    assert len(server.requests) == 8 + 10


def test_a_server_that_is_gone_stops_the_work_at_once(tmp_path: Path) -> None:
    with ChatServer() as server, engine(server, tmp_path, retries=1, concurrency=1) as asked:
        asked.generate(prompts(5), SAMPLING, seed=3)
    with pytest.raises(GenerationError, match="ConnectError") as caught:
        asked.generate(prompts(9), SAMPLING, seed=3)
    assert not isinstance(caught.value, PartlyAnswered)
    assert asked.usage.retries == 1


def test_few_failures_after_answers_are_single_ones(tmp_path: Path) -> None:
    with ChatServer(refuses_some) as server, engine(server, tmp_path, retries=0) as asked:
        asked.generate(prompts(1), SAMPLING, seed=3)
        with pytest.raises(PartlyAnswered) as caught:
            asked.generate([prompts(4)[3]], SAMPLING, seed=3)
    assert caught.value.answers == [None]


def test_tries_end_and_what_came_is_kept(tmp_path: Path) -> None:
    with ChatServer(lambda request, before: "500" if text_of(request) == "question 7" else "") as server:
        message = refusal(server, tmp_path, number=20, retries=2, concurrency=4)
    assert "failed a request 3 times, at last with: status 500" in message
    assert server.faults["500"] == 3
    given = set(server.given)
    with ChatServer() as mended:
        answers = ask(mended, tmp_path, 20)
    assert len(answers) == 20
    assert {text_of(request) for request in mended.requests} == {f"question {n}" for n in range(20)} - given


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with ChatServer() as server:
        pass
    assert "ConnectError" in refusal(server, tmp_path, retries=1)


@pytest.mark.parametrize("fault", ["429 1", "date"])
def test_retry_after_is_honoured(fault: str, tmp_path: Path) -> None:
    with ChatServer(lambda request, before: "" if before else fault) as server:
        ask(server, tmp_path)
    first, second = server.times
    assert second - first >= 0.95


def test_a_wait_out_of_proportion_is_told(tmp_path: Path) -> None:
    with ChatServer(lambda request, before: "429 86400") as server:
        message = refusal(server, tmp_path)
    assert "86,400 s" in message
    assert len(server.requests) == 1


def test_retry_after_by_hand() -> None:
    assert read_retry_after("12", now=0) == 12
    assert read_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", now=40) == 60
    assert read_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", now=400) == 0
    assert read_retry_after("", now=0) == read_retry_after("soon", now=0) == 0


def test_sampling_is_passed_on(tmp_path: Path) -> None:
    sampling = Sampling(temperature=0.5, top_p=0.9, max_new_tokens=64, batch_tokens=1, stop=("END",))
    with ChatServer() as server, engine(server, tmp_path) as asked:
        asked.generate([Prompt(system="be brief", user="why?")], sampling, samples=2, seed=3)
    (request,) = server.requests
    seed = request.pop("seed")
    assert 0 <= seed < 2**31
    assert request == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 64,
        "stop": ["END"],
        "n": 2,
    }


@pytest.mark.parametrize(("per_request", "requests"), [(16, 4), (1, 4), (2, 4)])
def test_missing_choices_are_asked_for_again_with_other_seeds(per_request: int, requests: int, tmp_path: Path) -> None:
    with ChatServer() as server:
        server.ignores_n = True
        ((*answers,),) = ask(server, tmp_path, samples=4, samples_per_request=per_request)
    assert len(server.requests) == requests
    assert len({request["seed"] for request in server.requests}) == 4
    assert len(set(answers)) == 4


def test_samples_come_in_one_request_where_the_server_knows_n(tmp_path: Path) -> None:
    with ChatServer() as server:
        server.gives_usage = True
        with engine(server, tmp_path) as asked:
            ((*answers,),) = asked.generate(prompts(1), SAMPLING, samples=5, seed=3)
    assert [request["n"] for request in server.requests] == [5]
    assert len({answer.text for answer in answers}) == 5
    assert sum(answer.completion_tokens for answer in answers) == 50
    usage = asked.usage
    assert (usage.answers, usage.prompt_tokens, usage.completion_tokens, usage.estimated) == (5, 7, 50, 0)


def test_fields_of_the_servers_own_are_passed_on_and_make_another_question(tmp_path: Path) -> None:
    own = {"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}}
    with ChatServer() as server, open_journal(tmp_path / "journal.jsonl") as journal:
        for extra in ({}, own):
            ServerEngine(server.url, "m", config(extra=extra), journal).generate(prompts(1), SAMPLING, seed=3)
    plain, special = server.requests
    assert special == plain | own | {"seed": special["seed"]}


def test_equal_prompts_get_answers_of_their_own(tmp_path: Path) -> None:
    with ChatServer() as server, engine(server, tmp_path) as asked:
        answers = asked.generate([*prompts(1), *prompts(2)], SAMPLING, samples=2, seed=3)
    flat = [text for row in texts(answers) for text in row]
    assert [text.split(" (")[0][-1] for text in flat] == ["0", "0", "0", "0", "1", "1"]
    assert len(set(flat)) == 6


def test_another_seed_model_or_temperature_is_another_question(tmp_path: Path) -> None:
    with ChatServer() as server, open_journal(tmp_path / "journal.jsonl") as journal:
        first = ServerEngine(server.url, "m", config(), journal)
        other = ServerEngine(server.url, "n", config(), journal)
        warm = Sampling(temperature=0.6, top_p=0.9, max_new_tokens=64, batch_tokens=9)
        for _ in range(2):
            first.generate(prompts(1), SAMPLING, seed=3)
            first.generate(prompts(1), SAMPLING, seed=4)
            first.generate(prompts(1), warm, seed=3)
            other.generate(prompts(1), SAMPLING, seed=3)
    assert len(server.requests) == 4


def test_tokens_are_estimated_and_said_to_be(tmp_path: Path) -> None:
    with ChatServer() as server, engine(server, tmp_path) as asked:
        ((answer,),) = asked.generate([Prompt(system="", user="为什么发热")], SAMPLING, seed=3)
    assert asked.usage.estimated == 1
    assert answer.prompt_tokens == 5  # one an ideograph
    assert asked.usage.completion_tokens == answer.completion_tokens > 5


def test_the_key_comes_from_the_environment_and_goes_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "sk-very-secret"
    monkeypatch.setenv("TEACHER_KEY", secret)
    caplog.set_level(logging.DEBUG)
    with ChatServer() as server:
        ask(server, tmp_path, 2, api_key_env="TEACHER_KEY")
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {secret}"}
    messages, traces = [], ""
    for fault in ("401", "500", "400"):  # this server repeats the key in what it says
        with ChatServer(lambda request, before, fault=fault: fault) as server:
            error = refused(server, tmp_path / fault, api_key_env="TEACHER_KEY", retries=1)
            messages.append(str(error))
            traces += "".join(traceback.format_exception(error))
    assert all("[key]" in message for message in messages)
    assert "TEACHER_KEY" in messages[0]
    written = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file())
    assert secret not in "".join(messages) + traces + caplog.text + written
    monkeypatch.delenv("TEACHER_KEY")
    with ChatServer() as server:
        assert "TEACHER_KEY (api_key_env) is not set" in refusal(server, tmp_path, api_key_env="TEACHER_KEY")
        assert server.requests == []


RUN = """
import sys
from pathlib import Path
from test_server import SAMPLING, config, prompts
from medcritical.generation.journal import open_journal
from medcritical.generation.server import ServerEngine
with open_journal(Path(sys.argv[2])) as journal:
    ServerEngine(sys.argv[1], "m", config(), journal).generate(prompts(300), SAMPLING, seed=3)
"""


def test_a_killed_run_goes_on_from_what_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with ChatServer(delay=0.02) as server:
        process = subprocess.Popen([sys.executable, "-c", RUN, server.url, str(path)], env=environment)
        deadline = time.monotonic() + 60
        while sum(server.given.values()) < 90 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        time.sleep(0.1)  # handlers at work end
        kept = len(path.read_bytes().split(b"\n")) - 1
        assert 60 < kept < 300
        before = server.given.copy()
        server.requests.clear()
        answers = ask(server, tmp_path, 300)
    assert len(answers) == 300
    assert len(server.requests) == 300 - kept, "asked is what is not on disk, and nothing else"
    lost = sum(before.values()) - kept
    assert 0 <= lost <= 16, "at most what was on its way is paid twice"
    assert sum(number > 1 for number in server.given.values()) == lost
    assert len(path.read_bytes().splitlines()) == 300


def test_a_torn_line_is_asked_again_and_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with ChatServer() as server:
        first = ask(server, tmp_path, 4)
        whole = path.read_bytes()
        path.write_bytes(whole[:-25])
        server.requests.clear()
        assert ask(server, tmp_path, 4) == first
        assert len(server.requests) == 1
        server.requests.clear()
        assert ask(server, tmp_path, 4) == first
        assert server.requests == []
    kept = [line for line in path.read_bytes().splitlines() if line in whole.splitlines()]
    assert len(kept) == 4


def test_every_answer_is_on_the_disk_before_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    path = tmp_path / "journal.jsonl"
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(path.read_bytes().count(b"\n")))
    with ChatServer() as server:
        ask(server, tmp_path, 5)
    assert synced == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("message", "reason", "text", "is_finished"),
    [
        ({"content": "B"}, "stop", "B", True),
        ({"content": "B"}, None, "B", True),
        ({"content": "Bec"}, "length", "Bec", False),
        ({"content": None}, "length", "", False),
        ({"content": "B", "reasoning_content": "hm"}, "stop", "<think>hm</think>\nB", True),
        ({"content": "B", "reasoning": "hm"}, "stop", "<think>hm</think>\nB", True),
        ({"content": "B END C"}, "length", "B ", True),
    ],
)
def test_what_a_choice_says(message: dict[str, Any], reason: str | None, text: str, is_finished: bool, tmp_path: Path):
    sampling = Sampling(temperature=0.5, top_p=0.9, max_new_tokens=64, batch_tokens=1, stop=("END", "FIN"))
    with ChatServer() as server, engine(server, tmp_path) as asked:
        server.write = lambda request: {"choices": [{"message": message, "finish_reason": reason}]}
        ((answer,),) = asked.generate(prompts(1), sampling, seed=3)
    assert (answer.text, answer.is_finished) == (text, is_finished)


def test_a_journal_is_lines_of_json(tmp_path: Path) -> None:
    with ChatServer() as server:
        ask(server, tmp_path, 2, samples=2)
    lines = (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert sorted((row["sample"], row["billed_prompt_tokens"] > 0) for row in rows) == [
        (0, True),
        (0, True),
        (1, False),
        (1, False),
    ]


def test_a_rank_finds_what_others_were_answered(tmp_path: Path) -> None:
    """Each rank writes a journal of its own; the next to ask the same, alone or another rank, reads all of them."""
    paths = [tmp_path / name for name in ("m.jsonl", "m.rank-1.jsonl")]
    with ChatServer() as server:
        given = []
        for path, prompt in zip(paths, prompts(2), strict=True):
            with open_journal(path) as journal:
                given += ServerEngine(server.url, "m", config(), journal).generate([prompt], SAMPLING, seed=1)
        with open_journal(paths[0], others=tmp_path.glob("m*.jsonl")) as journal:
            asked = ServerEngine(server.url, "m", config(), journal)
            assert asked.generate(prompts(2), SAMPLING, seed=1) == given
        assert (len(server.requests), asked.usage.from_disk) == (2, 2)
