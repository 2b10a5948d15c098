"""The engine over HTTP: any OpenAI-compatible chat server, remote or on this machine.

A fault that may pass (429, 5xx, a timeout, a cut connection, an unreadable reply) is met with another try, later each
time. What still fails, or is refused for what it says, is one prompt without an answer: the others are asked all the
same. A fault of the whole (nobody listens, a wrong key, an unknown model, nothing but failures) ends the work with one
sentence. Every answer goes to a journal before it is used, and what the journal holds is never asked again.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from medcritical.config.schema import EngineConfig
from medcritical.errors import GenerationError
from medcritical.generation.chat import Reply, UnreadableReply, endpoint, read_reply, write_request
from medcritical.generation.engine import PartlyAnswered, Sampling, Usage
from medcritical.generation.journal import Answer, Journal
from medcritical.generation.server_version import is_near
from medcritical.records import Completion, Prompt
from medcritical.store.hashing import derive_seed, hash_json

_LONGEST_WAIT = 600.0  # seconds; a server that asks for more has closed for the day
_PASSING_STATUS = (408, 409, 425, 429)  # and all 5xx
_SHOWN = 300  # characters of a server's own words
_HOPELESS = 10  # failed requests in a row, each with all its tries: the server is at fault and not what it is asked


class PassingFault(Exception):
    """A request that failed and may succeed when sent again, after `wait` seconds at least."""

    def __init__(self, reason: str, wait: float = 0.0, *, is_of_server: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.is_of_server = wait, is_of_server


class RequestFailed(GenerationError):
    """One request that has no answer, while another may have one."""


@dataclass(frozen=True)
class _Ask:
    """Samples that one request asks for."""

    key: str
    prompt: Prompt
    samples: tuple[int, ...]


class ServerEngine:
    """Answers prompts through the server at `url` (".../v1"), which knows the model by the name `model`.

    Sampling is the server's: its seeds make runs alike, not equal. `Sampling.batch_tokens` says nothing here,
    `config.concurrency` requests are on their way at a time. The journal knows the model as `known_as`, where that differs.

    Raises:
        GenerationError: the environment variable that should hold the key is not set.
    """

    def __init__(self, url: str, model: str, config: EngineConfig, journal: Journal, known_as: str = "") -> None:
        self.url, self.model, self.config, self.journal = url.rstrip("/"), model, config, journal
        self.known_as = known_as or model
        self.usage = Usage()
        self._key = _read_key(config.api_key_env)
        self._has_answered = False
        self._failed_in_a_row = 0

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
        """Return `samples` completions per prompt; see `ShareEngine`. What the journal has is not asked again.

        Raises:
            PartlyAnswered: the server refuses single requests, or fails them `retries` + 1 times.
            GenerationError: it does so to all of them, or is at fault as a whole. Answers until then are kept.
        """
        keys = [self._request_key(prompt, sampling, seed) for prompt in prompts]
        wanted = {key: number * samples for key, number in Counter(keys).items()}  # a prompt may come twice
        asks = list(self._missing(dict(zip(keys, prompts, strict=True)), wanted))
        total = len(prompts) * samples
        done = total - sum(len(ask.samples) for ask in asks)
        self.usage.from_disk += done

        def on_answers(number: int) -> None:
            nonlocal done
            done += number
            if on_progress is not None:
                on_progress(done, total)

        failed = asyncio.run(self._ask_all(asks, sampling, seed, on_answers)) if asks else {}
        given = {key: iter(self._given(key, number)) for key, number in wanted.items() if key not in failed}
        answers = [[next(given[key]) for _ in range(samples)] if key in given else None for key in keys]
        complete = [answer for answer in answers if answer is not None]
        if len(complete) < len(answers):
            raise PartlyAnswered(answers, {place: failed[key] for place, key in enumerate(keys) if key in failed})
        return complete

    def _request_key(self, prompt: Prompt, sampling: Sampling, seed: int) -> str:
        return hash_json([write_request(prompt, sampling, model=self.known_as, extra=self.config.extra), seed])

    def _missing(self, prompts: dict[str, Prompt], wanted: dict[str, int]) -> Iterator[_Ask]:
        """What has to be asked, at most `samples_per_request` samples at a time, those of one prompt one after the other."""
        size = self.config.samples_per_request
        for key, number in wanted.items():
            missing = [sample for sample in range(number) if self.journal.find(key, sample) is None]
            for start in range(0, len(missing), size):
                yield _Ask(key, prompts[key], tuple(missing[start : start + size]))

    def _given(self, key: str, number: int) -> Iterator[Completion]:
        """The answers to one request, entered into `usage`."""
        for sample in range(number):
            answer = self.journal.find(key, sample)
            assert answer is not None  # `_ask_all` returns when all are there, or raises
            self.usage.answers += 1
            self.usage.prompt_tokens += answer.billed_prompt_tokens
            self.usage.completion_tokens += answer.completion.completion_tokens
            self.usage.estimated += answer.is_estimated
            yield answer.completion

    async def _ask_all(
        self, asks: Sequence[_Ask], sampling: Sampling, seed: int, on_answers: Callable[[int], None]
    ) -> dict[str, str]:
        """Ask with bounded concurrency; why requests failed, by their keys.

        After a fault of the whole server nothing new is begun, and what is on its way is awaited.
        """
        waiting, failed, faults = iter(asks), dict[str, str](), list[GenerationError]()

        async def work() -> None:
            for ask in waiting:  # all workers take from one iterator
                if faults:
                    return
                try:
                    await self._ask(client, ask, sampling, seed, on_answers)
                except RequestFailed as error:
                    failed[ask.key] = str(error)
                    self._failed_in_a_row += 1
                    is_last = len(failed) == len({ask.key for ask in asks})
                    if self._failed_in_a_row >= _HOPELESS or (is_last and not self._has_answered):
                        faults.append(error)
                except GenerationError as error:
                    faults.append(error)

        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        async with httpx.AsyncClient(headers=headers, timeout=None, trust_env=not is_near(self.url)) as client:
            await asyncio.gather(*(work() for _ in range(min(self.config.concurrency, len(asks)))))
        if faults:
            raise faults[0]
        return failed

    async def _ask(
        self, client: httpx.AsyncClient, ask: _Ask, sampling: Sampling, seed: int, on_answers: Callable[[int], None]
    ) -> None:
        """Ask until every sample is there: a server may know no `n` and give fewer choices than asked for."""
        missing = ask.samples
        while missing:
            request = write_request(ask.prompt, sampling, model=self.model, extra=self.config.extra)
            # Another seed for the rest, or a server that gives one choice would give the same one again.
            request |= {"n": len(missing), "seed": derive_seed(seed, ask.key, missing[0])}
            reply = await self._send_until_answered(client, request, ask.prompt, sampling.stop)
            self._has_answered, self._failed_in_a_row = True, 0
            completions = reply.completions[: len(missing)]
            for place, completion in enumerate(completions):
                answer = Answer(
                    key=ask.key,
                    sample=missing[place],
                    completion=completion,
                    billed_prompt_tokens=reply.prompt_tokens if place == 0 else 0,
                    is_estimated=reply.is_estimated,
                )
                self.journal.add(answer)
            missing = missing[len(completions) :]
            on_answers(len(completions))

    async def _send_until_answered(
        self, client: httpx.AsyncClient, request: dict[str, Any], prompt: Prompt, stop: Sequence[str]
    ) -> Reply:
        attempts = self.config.retries + 1
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(PassingFault),
            stop=stop_after_attempt(attempts),
            wait=_Wait(self.config.backoff),
            before_sleep=self._count_retry,
            reraise=True,
        )
        try:
            return await retrying(self._send, client, request, prompt, stop)
        except PassingFault as fault:
            kind = GenerationError if fault.is_of_server else RequestFailed
            raise kind(
                f"{self.url} failed a request {attempts} times, at last with: {fault}. Answers "
                "until then are kept; the same command goes on from them."
            ) from fault

    def _count_retry(self, _: RetryCallState) -> None:
        self.usage.retries += 1

    async def _send(
        self, client: httpx.AsyncClient, request: dict[str, Any], prompt: Prompt, stop: Sequence[str]
    ) -> Reply:
        """One request, once. Raises PassingFault or GenerationError where it gives no answer."""
        self.usage.requests += 1
        try:
            async with asyncio.timeout(self.config.timeout):  # of the whole: a server may also drip
                response = await client.post(f"{self.url}/{endpoint(prompt)}", content=msgspec.json.encode(request))
        except TimeoutError as error:
            raise PassingFault(f"no answer within {self.config.timeout:g} s") from error
        except httpx.TransportError as error:
            is_of_server = isinstance(error, httpx.ConnectError)  # nobody listens: it is gone
            raise PassingFault(f"{type(error).__name__} {error}".strip(), is_of_server=is_of_server) from error
        if response.status_code in _PASSING_STATUS or response.status_code >= 500:
            raise PassingFault(
                f"status {response.status_code}: {self._words(response)}",
                self._asked_wait(response),
                is_of_server=response.status_code == 429,
            )
        if response.status_code != 200:
            kind = GenerationError if response.status_code in (401, 403, 404) else RequestFailed
            raise kind(self._refusal(response, prompt))
        try:
            return read_reply(response.content, prompt, stop)
        except UnreadableReply as error:
            raise PassingFault(str(error)) from error

    def _asked_wait(self, response: httpx.Response) -> float:
        """Seconds that the server's Retry-After asks for. Raises GenerationError where that is out of all proportion."""
        wait = read_retry_after(response.headers.get("Retry-After", ""), now=time.time())
        if wait > _LONGEST_WAIT:
            raise GenerationError(
                f"{self.url} wants to be asked again in {wait:,.0f} s ({self._words(response)}): start the "
                "same command then; answers until now are kept."
            )
        return wait

    def _refusal(self, response: httpx.Response, prompt: Prompt) -> str:
        """One sentence for a status that asking again will not change."""
        status, words = response.status_code, self._words(response)
        if status in (401, 403):
            source = f"the key in {self.config.api_key_env}" if self._key else "requests without a key"
            return f"{self.url} refuses {source} ({status}: {words}): check the key and the engine's api_key_env."
        if status == 404:
            return f"{self.url} knows no model {self.model!r}, or no /{endpoint(prompt)} ({status}: {words})."
        return f"{self.url} refuses a request to {self.model!r} ({status}: {words})."

    def _words(self, response: httpx.Response) -> str:
        """What the server says, in one short line, without the key: servers like to repeat it."""
        text = response.text.replace(self._key, "[key]") if self._key else response.text
        return " ".join(text.split())[:_SHOWN] or response.reason_phrase


class _Wait:
    """Seconds before the next try: exponential with full jitter, after what the server asked for."""

    def __init__(self, backoff: float) -> None:
        self._jitter = wait_random_exponential(multiplier=backoff, max=60.0)

    def __call__(self, state: RetryCallState) -> float:
        fault = state.outcome.exception() if state.outcome is not None else None
        asked = fault.wait if isinstance(fault, PassingFault) else 0.0
        return asked + self._jitter(state)


def read_retry_after(value: str, *, now: float) -> float:
    """Seconds to wait by a Retry-After header, which holds seconds or an HTTP date; 0 where it says nothing."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError):
        return 0.0


def _read_key(name: str) -> str:
    """The API key in the environment variable `name`; empty for no name."""
    key = os.environ.get(name, "") if name else ""
    if name and not key:
        raise GenerationError(
            f"the environment variable {name} (api_key_env) is not set: put the server's API key there."
        )
    return key
