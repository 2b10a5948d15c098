"""The tokenizer of a student trained from scratch: one token for each word of a closed vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from medcritical.errors import ModelError

PAD, BOS, EOS, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"

# The messages in order, without role words: they would be tokens that say nothing to a student with one prompt form.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if not loop.first %} {% endif %}{{ message['content'] }}"
    "{% endfor %}"
)


def build_word_tokenizer(vocabulary: Sequence[str]) -> PreTrainedTokenizerBase:
    """Return a Hugging Face tokenizer with one token per word; decoding gives words joined by single spaces.

    Special tokens come after the words and are no words of the model: "<eos>" inside a text, encoded with
    `split_special_tokens`, is an unknown word and never the end of a sequence.

    Raises:
        ModelError: a word is empty, holds white space, is a special token, or comes twice.
    """
    for word in vocabulary:
        if word.split() != [word] or word in (PAD, BOS, EOS, UNKNOWN):
            raise ModelError(f"vocabulary word {word!r} is empty, holds white space or is a special token")
    words = {word: number for number, word in enumerate((UNKNOWN, *vocabulary))}
    if len(words) != len(vocabulary) + 1:
        raise ModelError(f"the vocabulary of {len(vocabulary)} words holds {len(vocabulary) + 1 - len(words)} twice")
    tokenizer = Tokenizer(WordLevel(words, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
