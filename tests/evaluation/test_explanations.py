"""BLEU and ROUGE by hand, character by character in Chinese."""

import math
import sys

import pytest

from medcritical.errors import ConfigError
from medcritical.evaluation import explanations
from medcritical.evaluation.explanations import Explained, require_packages, score_explanations, split_tokens

pytest.importorskip("sacrebleu", reason="install medcritical[explanation]")
pytest.importorskip("rouge_score", reason="install medcritical[explanation]")


def test_chinese_is_compared_by_character_without_spaces():
    assert split_tokens("C对 ，\u3000选B12。", "zh") == list("C对，选B12。")


def test_other_languages_are_compared_by_word():
    assert split_tokens("The Answer: 0.5 mg.", "en") == ["the", "answer", ":", "0.5", "mg", "."]


def test_chinese_by_hand():
    # written 流感病毒 (4), given 流感病毒株 (5): all four characters and three pairs are shared
    score = score_explanations([Explained("流感病毒", "流感 病毒株", "zh")])
    brevity = math.exp(1 - 5 / 4)
    assert score.num_questions == 1
    assert score.bleu_1 == pytest.approx(brevity)
    assert score.bleu_4 == pytest.approx(brevity)  # every 1-, 2-, 3- and 4-gram of what was written is in the other
    assert score.rouge_1 == pytest.approx(2 * 1 * (4 / 5) / (1 + 4 / 5))
    assert score.rouge_2 == pytest.approx(2 * 1 * (3 / 4) / (1 + 3 / 4))
    assert score.rouge_l == pytest.approx(2 * 1 * (4 / 5) / (1 + 4 / 5))


def test_order_is_seen_by_bleu_4_and_rouge_l_alone():
    score = score_explanations([Explained("d c b a", "a b c d", "en")])
    assert (score.bleu_1, score.rouge_1) == (pytest.approx(1), pytest.approx(1))
    assert (score.bleu_4, score.rouge_2) == (0, 0)
    assert score.rouge_l == pytest.approx(1 / 4)


def test_bleu_is_of_the_corpus_and_rouge_a_mean():
    score = score_explanations([Explained("a a a", "a b c", "en"), Explained("x", "x", "en")])
    assert score.bleu_1 == pytest.approx((1 + 1) / (3 + 1))  # clipped: one a counts
    assert score.rouge_1 == pytest.approx((1 / 3 + 1) / 2)


def test_nothing_written_scores_nothing():
    score = score_explanations([Explained("", "because", "en")])
    assert (score.bleu_1, score.bleu_4, score.rouge_1, score.rouge_l) == (0, 0, 0, 0)


def test_missing_packages_are_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(explanations, "find_spec", lambda name: None if name == "sacrebleu" else sys)
    with pytest.raises(ConfigError, match=r"needs sacrebleu: install medcritical\[explanation\]"):
        require_packages()
