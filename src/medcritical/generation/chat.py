"""The OpenAI forms, chat and bare completions: what is sent, and what comes back read into completions. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from medcritical.generation.engine import Sampling, cut_at_stop
from medcritical.records import Completion, Prompt

# Reasons to end that leave an answer unfinished; all others (stop, eos, end_turn, ...) are the model's own end.
_UNFINISHED = ("length", "content_filter")
_CHARACTERS_PER_TOKEN = 4  # of text in Latin letters; an ideograph counts as a token


class UnreadableReply(ValueError):
    """A reply with status 200 that holds no answer: cut off, of another form, or without choices."""


@dataclass(frozen=True)
class Reply:
    """The completions of one HTTP request, at least one, and the prompt tokens it was billed for."""

    completions: list[Completion]
    prompt_tokens: int
    is_estimated: bool


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Body(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


def write_request(prompt: Prompt, sampling: Sampling, *, model: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The request but for `n` and `seed`: what tells one question to a model from another. `extra` is added as it is."""
    request: dict[str, Any] = {
        **extra,
        "model": model,
        **_asked(prompt),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_new_tokens,
    }
    if sampling.stop:
        request["stop"] = list(sampling.stop)
    if sampling.only:
        schema = {"name": "only", "schema": {"enum": list(sampling.only)}}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    return request


def endpoint(prompt: Prompt) -> str:
    """Where below the API's root a prompt is sent."""
    return "completions" if prompt.is_bare else "chat/completions"


def _asked(prompt: Prompt) -> dict[str, Any]:
    if prompt.is_bare:
        return {"prompt": prompt.user}
    messages = [{"role": "user", "content": prompt.user}]
    if prompt.system:
        messages.insert(0, {"role": "system", "content": prompt.system})
    return {"messages": messages}


def read_reply(body: bytes, prompt: Prompt, stop: Sequence[str]) -> Reply:
    """The answers in a reply's body. Token counts are the server's, or estimated from the text where it gives none.

    Completion tokens that the server counted for several choices together are divided by length of text.

    Raises:
        UnreadableReply: there is no answer in it.
    """
    try:
        reply = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableReply(f"unreadable reply ({error})") from error
    if not reply.choices:
        raise UnreadableReply("a reply without choices")
    texts = [_text(choice) for choice in reply.choices]
    estimates = [estimate_tokens(text) for text in texts]
    if reply.usage is None:
        prompt_tokens, counts = estimate_tokens(prompt.system + prompt.user), estimates
    else:
        prompt_tokens, counts = reply.usage.prompt_tokens, _divide(reply.usage.completion_tokens, estimates)
    completions = []
    for choice, text, count in zip(reply.choices, texts, counts, strict=True):
        cut, is_stopped = cut_at_stop(text, stop)
        completions.append(
            Completion(
                text=cut,
                prompt_tokens=prompt_tokens,
                completion_tokens=count,
                is_finished=is_stopped or choice.finish_reason not in _UNFINISHED,
            )
        )
    return Reply(completions, prompt_tokens, is_estimated=reply.usage is None)


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has: one an ideograph, one for four other characters."""
    num_ideographs = sum("\u3400" <= character <= "\u9fff" for character in text)
    return num_ideographs + math.ceil((len(text) - num_ideographs) / _CHARACTERS_PER_TOKEN)


def _text(choice: _Choice) -> str:
    """What the model wrote. A server with a reasoning parser takes the thinking out of it: here it goes back in."""
    message = choice.message
    if message is None:
        if choice.text is None:
            raise UnreadableReply("a choice without text")
        return choice.text
    thinking = message.reasoning_content or message.reasoning
    content = message.content or ""
    return f"<think>{thinking}</think>\n{content}" if thinking else content


def _divide(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in parts that go with `weights` and add up to it: what rounding leaves goes to the last."""
    mass = sum(weights)
    shares = [total * weight // mass if mass else total // len(weights) for weight in weights[:-1]]
    return [*shares, total - sum(shares)]
