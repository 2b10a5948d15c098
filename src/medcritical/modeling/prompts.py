"""Text to token ids: prompts through the tokenizer's chat template, responses as they are.

Data is never trusted to be plain: a question that holds "<|im_end|>" must not end the user's turn. Special tokens
come from the template and from the end of a finished response, and from nowhere else.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from medcritical.records import Prompt

logger = logging.getLogger(__name__)

# A Unicode noncharacter, which no text meant for interchange holds. Put into a special token found in data, it keeps
# the token from being read as one while the template is filled in, and is taken out again before encoding.
BREAK = "\ufdd0"


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Return the ids of `prompt`, ready for the response: what `apply_chat_template` gives with a generation prompt.

    Where the text of the prompt holds special tokens, these are encoded as the characters they are made of.
    A bare prompt is its user's text. A tokenizer without a chat template (a base model) gets the plain form
    "system\\n\\nuser\\n\\n", logged once.
    """
    if prompt.is_bare:
        return list(tokenizer.encode(prompt.user, split_special_tokens=True))
    if tokenizer.chat_template is None:
        _warn_no_template(tokenizer.name_or_path)
        text = "".join(f"{part}\n\n" for part in (prompt.system, prompt.user) if part)
        return list(tokenizer.encode(text, split_special_tokens=True))
    special = _special_pattern(tokenizer)
    messages = [{"role": "user", "content": _break_special(special, prompt.user)}]
    if prompt.system:
        messages.insert(0, {"role": "system", "content": _break_special(special, prompt.system)})
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    if BREAK not in text:
        return list(tokenizer.encode(text, add_special_tokens=False))
    return _encode_around_special(tokenizer, special, text)


def encode_response(tokenizer: PreTrainedTokenizerBase, text: str, is_finished: bool) -> list[int]:
    """Return the ids of a response, with the end-of-sequence token when it is finished and no other special token."""
    ids = list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))
    return [*ids, tokenizer.eos_token_id] if is_finished else ids


@lru_cache(maxsize=4)
def _special_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Return a pattern with one group that matches every special token, longer ones first."""
    literals = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    ordered = sorted(literals | set(tokenizer.all_special_tokens), key=lambda literal: (-len(literal), literal))
    never = "(?!)"
    return re.compile("(" + ("|".join(map(re.escape, ordered)) or never) + ")")


def _break_special(special: re.Pattern[str], text: str) -> str:
    return special.sub(lambda found: found[0][:1] + BREAK + found[0][1:], text)


def _encode_around_special(tokenizer: PreTrainedTokenizerBase, special: re.Pattern[str], text: str) -> list[int]:
    """Encode `text` piece by piece: the special tokens left in it are the template's, all between them is data."""
    ids: list[int] = []
    for number, piece in enumerate(special.split(text)):
        if number % 2:
            ids.append(tokenizer.convert_tokens_to_ids(piece))
        else:
            data = piece.replace(BREAK, "")
            ids += tokenizer.encode(data, add_special_tokens=False, split_special_tokens=True)
    return ids


@lru_cache
def _warn_no_template(name: str) -> None:
    logger.warning("%s has no chat template; prompts are written as plain text", name or "the tokenizer")
