import pytest
import torch

from medcritical.generation import sampling
from medcritical.generation.sampling import draw_tokens, draw_uniforms

# Probabilities 0.1, 0.6, 0.3: cumulative 0.1, 0.7, 1.0; from the most likely down 0.6 (1), 0.9 (2), 1.0 (0).
LOGITS = torch.log(torch.tensor([0.1, 0.6, 0.3]))


def draw(uniform: float, temperature: float = 1.0, top_p: float = 1.0, logits: torch.Tensor = LOGITS) -> int:
    return int(draw_tokens(logits[None], torch.tensor([uniform]), temperature=temperature, top_p=top_p))


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 0), (0.09, 0), (0.11, 1), (0.69, 1), (0.71, 2), (0.9999999, 2)])
def test_uniform_number_picks_the_token_by_cumulative_probability(uniform, token):
    assert draw(uniform) == token


def test_greedy_ignores_the_number():
    assert {draw(uniform, temperature=0) for uniform in (0.0, 0.5, 0.99)} == {1}


@pytest.mark.parametrize(
    ("top_p", "uniform", "token"),
    [
        (0.5, 0.0, 1),  # 0.6 reaches 0.5: one token is left
        (0.5, 0.999, 1),
        (0.8, 0.66, 1),  # two tokens, 0.6 and 0.3 of 0.9: the border is at two thirds
        (0.8, 0.67, 2),
        (0.8, 0.9999999, 2),
        (0.95, 0.89, 2),  # all three: 0.6, 0.9, 1.0
        (0.95, 0.91, 0),
    ],
)
def test_nucleus_keeps_the_fewest_tokens_that_hold_the_mass(top_p, uniform, token):
    assert draw(uniform, top_p=top_p) == token


def test_temperature_divides_the_logits():
    # At temperature 1/2 probabilities are squared: 0.01, 0.36, 0.09 of 0.46; the borders are at 0.0217 and 0.804.
    assert [draw(uniform, temperature=0.5) for uniform in (0.021, 0.023, 0.803, 0.805)] == [0, 1, 1, 2]


def test_token_of_probability_zero_is_never_drawn():
    logits = torch.tensor([-torch.inf, 0.0, 0.0, -torch.inf])
    assert {draw(uniform, logits=logits) for uniform in (0.0, 0.3, 0.6, 0.99999994)} == {1, 2}


def test_rows_do_not_touch_each_other():
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    uniforms = torch.linspace(0.05, 0.95, 6)
    together = draw_tokens(logits, uniforms, temperature=0.7, top_p=0.9)
    alone = [draw_tokens(logits[[b]], uniforms[[b]], temperature=0.7, top_p=0.9) for b in range(6)]
    assert torch.equal(together, torch.cat(alone))


def test_uniforms_depend_on_their_own_seed():
    ab, b = draw_uniforms([1, 2], 5), draw_uniforms([2], 5)
    assert ab.shape == (2, 5)
    assert torch.equal(ab[1], b[0])
    assert not torch.equal(ab[0], ab[1])
    assert bool(((ab >= 0) & (ab < 1)).all())


def test_a_nucleus_within_the_likeliest_tokens_and_a_wider_one_are_drawn_from_alike(monkeypatch):
    # Peaked rows hold the mass within LIKELIEST tokens, flat ones do not; in one batch.
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 2000, generator=generator) * torch.linspace(0.1, 6, 40)[:, None]
    uniforms = torch.rand(40, generator=generator)
    drawn = draw_tokens(logits, uniforms, temperature=1.0, top_p=0.95)
    is_wide = logits.softmax(-1).topk(sampling.LIKELIEST).values.sum(-1) < 0.95
    assert 0 < is_wide.sum() < 40
    monkeypatch.setattr(sampling, "LIKELIEST", 2000)  # sort everything
    assert torch.equal(drawn, draw_tokens(logits, uniforms, temperature=1.0, top_p=0.95))
