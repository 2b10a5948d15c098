import dataclasses
import logging
import math
from collections import Counter

import msgspec
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from medcritical.errors import GenerationError
from medcritical.generation import decoding
from medcritical.generation.embedded import TransformersEngine, similar_lengths
from medcritical.generation.engine import Engine, Sampling
from medcritical.modeling.checkpoint import Student
from medcritical.modeling.prompts import encode_prompt
from medcritical.records import Prompt

GREEDY = Sampling(temperature=0, top_p=1, max_new_tokens=24, batch_tokens=1024)
DRAWN = Sampling(temperature=1, top_p=1, max_new_tokens=24, batch_tokens=1024)


def generate_with_transformers(student, prompts, max_new_tokens):
    """What `model.generate` answers to every prompt alone, as texts without the end of sequence."""
    answers = []
    for prompt in prompts:
        ids = encode_prompt(student.tokenizer, prompt)
        out = student.model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=max_new_tokens,
            do_sample=False,
        )[0, len(ids) :].tolist()
        is_finished = out[-1] == student.tokenizer.eos_token_id
        answers.append((student.tokenizer.decode(out[:-1] if is_finished else out), len(out), is_finished))
    return answers


def as_tuples(completions):
    return [(one.text, one.completion_tokens, one.is_finished) for (one,) in completions]


@pytest.mark.parametrize("batch_tokens", [1, 500, 1024, 8192])
def test_greedy_equals_transformers_generate(student, prompts, batch_tokens):
    expected = generate_with_transformers(student, prompts, 24)
    lengths = {num_tokens for _, num_tokens, is_finished in expected if is_finished}
    assert len(lengths) > 5, "rows must leave the batch at different steps for this test to mean anything"
    assert any(not is_finished for _, _, is_finished in expected)
    sampling = Sampling(temperature=0, top_p=1, max_new_tokens=24, batch_tokens=batch_tokens)
    assert as_tuples(TransformersEngine(student).generate(prompts, sampling, seed=0)) == expected


@pytest.mark.parametrize("family", ["absolute_positions", "sliding_window"])
def test_other_architectures_decode_alike(student, prompts, family):
    shape = {
        "vocab_size": len(student.tokenizer),
        "initializer_range": 0.4,
        "eos_token_id": student.tokenizer.eos_token_id,
    }
    torch.manual_seed(0)
    if family == "absolute_positions":
        config = GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=96, bos_token_id=None, **shape)
        model = GPT2LMHeadModel(config)
    else:
        config = MistralConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=12,
            **shape,
        )
        model = MistralForCausalLM(config)
    other = Student(model.eval(), student.tokenizer)
    expected = generate_with_transformers(other, prompts, 24)
    assert as_tuples(TransformersEngine(other).generate(prompts, GREEDY, seed=0)) == expected


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_responses_that_join_others_are_written_alike(student, prompts, monkeypatch, share):
    expected = generate_with_transformers(student, prompts, 24)
    drawn = TransformersEngine(student).generate(prompts, DRAWN, samples=2, seed=1)
    monkeypatch.setattr(decoding, "REFILL_BELOW", share)
    assert as_tuples(TransformersEngine(student).generate(prompts, GREEDY, seed=0)) == expected
    assert TransformersEngine(student).generate(prompts, DRAWN, samples=2, seed=1) == drawn


def test_like_lengths_are_decoded_together_and_equal_prompts_stand_together():
    def response(number, length):
        return decoding.Response((number,) * length, budget=10, seed=0)

    responses = [response(1, 5), response(2, 30), response(3, 9), response(1, 5), response(4, 90)]
    # With 10 tokens to come: 15, 40, 19, 15 and 100 tokens.
    assert similar_lengths(responses) == [[4], [1], [2, 0, 3]]


def test_seed_decides_and_the_batch_does_not(student, prompts):
    engine = TransformersEngine(student)
    first = engine.generate(prompts, DRAWN, samples=3, seed=1)
    assert engine.generate(prompts, DRAWN, samples=3, seed=1) == first
    assert engine.generate(prompts, DRAWN, samples=3, seed=2) != first
    other = Sampling(temperature=1, top_p=1, max_new_tokens=24, batch_tokens=300)
    assert engine.generate(prompts, other, samples=3, seed=1) == first
    assert all(len(samples) == 3 for samples in first)
    assert any(samples[0] != samples[1] for samples in first)


def test_sampling_leaves_the_global_generator_alone(student, prompts):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    TransformersEngine(student).generate(prompts[:4], DRAWN, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_is_told_and_changes_nothing(student, prompts):
    engine = TransformersEngine(student)
    calls = []
    told = engine.generate(
        prompts, DRAWN, samples=2, seed=1, on_progress=lambda done, total: calls.append((done, total))
    )
    assert told == engine.generate(prompts, DRAWN, samples=2, seed=1)
    done = [number for number, _ in calls]
    assert done == sorted(set(done))
    assert calls[-1] == (100, 100)
    assert len(calls) > math.ceil(100 / 16), "rows that end early are told before their batch ends"


def chi_square(observed: Counter, expected: dict, total: int) -> float:
    return sum((observed[key] - total * p) ** 2 / (total * p) for key, p in expected.items())


def critical_value(degrees: int) -> float:
    """Chi-square value exceeded with probability 0.001 (Wilson-Hilferty)."""
    return degrees * (1 - 2 / (9 * degrees) + 3.09 * math.sqrt(2 / (9 * degrees))) ** 3


@torch.no_grad()
def two_token_distribution(student, prompt, temperature):
    """P(first, second) from plain forward passes without cache; second is None where the first ends the response."""
    ids, eos = encode_prompt(student.tokenizer, prompt), student.tokenizer.eos_token_id

    def next_probs(ids):
        return torch.softmax(student.model(torch.tensor([ids])).logits[0, -1].double() / temperature, dim=-1).tolist()

    joint = {}
    for first, p in enumerate(next_probs(ids)):
        seconds = [(None, 1.0)] if first == eos else enumerate(next_probs([*ids, first]))
        joint.update({(first, second): p * q for second, q in seconds})
    return joint


def test_drawn_pairs_of_tokens_follow_the_softmax(make_student):
    student = make_student(num_words=4, initializer_range=0.1)
    prompt, total = Prompt(system="", user="w1 w3"), 6000
    sampling = Sampling(temperature=0.8, top_p=1, max_new_tokens=2, batch_tokens=10000)
    (samples,) = TransformersEngine(student).generate([prompt], sampling, samples=total, seed=0)
    ids = student.tokenizer.get_vocab()
    eos = student.tokenizer.eos_token_id
    drawn = Counter()
    for one in samples:
        tokens = [ids[word] for word in one.text.split()] + [eos] * one.is_finished
        drawn[tokens[0], tokens[1] if len(tokens) == 2 else None] += 1
    expected = two_token_distribution(student, prompt, temperature=0.8)
    assert min(expected.values()) * total > 5
    assert set(drawn) <= set(expected)
    limit = critical_value(len(expected) - 1)
    assert chi_square(drawn, expected, total) < limit
    assert chi_square(drawn, two_token_distribution(student, prompt, temperature=1.0), total) > limit


def test_nucleus_draws_only_from_the_most_likely(student, prompts):
    greedy = TransformersEngine(student).generate(prompts, GREEDY, seed=0)
    narrow = Sampling(temperature=1, top_p=1e-6, max_new_tokens=24, batch_tokens=1024)
    assert TransformersEngine(student).generate(prompts, narrow, seed=0) == greedy


def test_equal_prompts_are_read_once(student, prompts, monkeypatch):
    widths = []
    forward = student.model.forward

    def spy(input_ids, **rest):
        widths.append(tuple(input_ids.shape))
        return forward(input_ids=input_ids, **rest)

    monkeypatch.setattr(student.model, "forward", spy)
    long = max(prompts, key=lambda prompt: len(prompt.user))
    roomy = Sampling(temperature=1, top_p=1, max_new_tokens=24, batch_tokens=2048)
    TransformersEngine(student).generate([long, long], roomy, samples=8, seed=0)
    assert widths[0] == (1, len(encode_prompt(student.tokenizer, long)))
    assert widths[1] == (16, 1)
    assert widths[-1][0] < 16, "rows that ended are taken out of the batch"


def test_text_keeps_special_tokens_and_counts_include_the_end(student, prompts):
    engine = TransformersEngine(student)
    completions = [one for samples in engine.generate(prompts, DRAWN, samples=4, seed=0) for one in samples]
    finished = [one for one in completions if one.is_finished]
    assert finished
    assert all(len(one.text.split()) == one.completion_tokens - 1 for one in finished)
    assert all(len(one.text.split()) == one.completion_tokens == 24 for one in completions if not one.is_finished)
    assert any("<pad>" in one.text or "<bos>" in one.text for one in completions)
    assert not any("<eos>" in one.text for one in completions)


def test_every_stop_id_of_the_generation_config_ends_a_response(student, prompts, monkeypatch):
    tokenizer = student.tokenizer
    stops = [tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids(["w1", "w2", "w3"])]
    monkeypatch.setattr(student.model.generation_config, "eos_token_id", stops)
    completions = TransformersEngine(student).generate(prompts, DRAWN, seed=0)
    assert not any({"w1", "w2", "w3"} & set(one.text.split()) for (one,) in completions)
    assert all(one.is_finished or one.completion_tokens == 24 for (one,) in completions)


def test_response_is_cut_at_the_last_position(make_student):
    student = make_student(num_words=30, initializer_range=0.4, positions=20)
    engine = TransformersEngine(student)
    engine.stop_ids = frozenset()
    texts = [Prompt(system="", user=" ".join(["w1"] * number)) for number in (3, 17)]
    short, long = engine.generate(texts, GREEDY, seed=0)
    assert (short[0].prompt_tokens, short[0].completion_tokens, short[0].is_finished) == (4, 16, False)
    assert (long[0].prompt_tokens, long[0].completion_tokens, long[0].is_finished) == (18, 2, False)
    with pytest.raises(GenerationError, match=r"prompt 1 has 21 tokens, which leaves no room .* 20 positions"):
        engine.generate([texts[0], Prompt(system="", user=" ".join(["w1"] * 20))], GREEDY, seed=0)


def test_no_prompts_no_completions(student):
    assert TransformersEngine(student).generate([], GREEDY, seed=0) == []


def test_prompts_are_never_logged(student, caplog):
    with caplog.at_level(logging.DEBUG):
        TransformersEngine(student).generate([Prompt(system="", user="w7 secret-patient")], GREEDY, seed=0)
    assert "w7" not in caplog.text


def test_model_answers_in_evaluation_mode(student):
    student.model.train()
    engine: Engine = TransformersEngine(dataclasses.replace(student))
    assert not student.model.training
    assert engine.generate([Prompt(system="", user="w1")], GREEDY, seed=0)


@pytest.mark.parametrize(
    "change", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"max_new_tokens": 0}, {"batch_tokens": 0}]
)
def test_impossible_sampling_is_refused(change):
    fields = {"temperature": 1, "top_p": 1, "max_new_tokens": 8, "batch_tokens": 64}
    with pytest.raises(ValueError, match="must be"):
        Sampling(**{**fields, **change})


def test_only_these_numbers_can_be_written(make_student, prompts):
    """Each answer is the one of the two tokens that the model finds likelier, and ends there, whatever else it would say."""
    able = make_student(30, 0.4, words=["1", "2"])
    (one,), (two,) = (able.tokenizer.encode(text, add_special_tokens=False) for text in ("1", "2"))
    sampling = msgspec.structs.replace(GREEDY, only=(1, 2))
    answers = as_tuples(TransformersEngine(able).generate(prompts, sampling, seed=0))
    likelier = []
    for prompt in prompts:
        logits = able.model(torch.tensor([encode_prompt(able.tokenizer, prompt)])).logits[0, -1]
        likelier.append("1" if logits[one] > logits[two] else "2")
    assert answers == [(text, 1, False) for text in likelier]
    assert set(likelier) == {"1", "2"}
    free = as_tuples(TransformersEngine(able).generate(prompts, GREEDY, seed=0))
    assert not {text for text, _, _ in free} & {"1", "2"}
    with pytest.raises(GenerationError, match="7 is no token of its own"):
        TransformersEngine(able).generate(prompts, msgspec.structs.replace(GREEDY, only=(7,)), seed=0)
