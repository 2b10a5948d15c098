"""Cohen's kappa by hand."""

import pytest

from medcritical.evaluation.agreement import add_agreements, agreement_of, cohen_kappa
from medcritical.records import Judged


def test_kappa_by_hand():
    # 35 of 50 agree; 25 yes of one rater and 30 of the other: 0.5 * 0.6 + 0.5 * 0.4 = 0.5 by chance; (0.7 - 0.5) / 0.5
    assert cohen_kappa(both=20, only_first=5, only_second=10, neither=15) == pytest.approx(0.4)


def test_kappa_of_full_agreement_is_1_and_of_full_disagreement_minus_1():
    assert cohen_kappa(both=5, only_first=0, only_second=0, neither=5) == pytest.approx(1)
    assert cohen_kappa(both=0, only_first=5, only_second=5, neither=0) == pytest.approx(-1)


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (7, 0, 0, 0), (0, 0, 0, 7)])
def test_kappa_is_not_defined_without_two_opinions(counts):
    both, first, second, neither = counts
    assert cohen_kappa(both=both, only_first=first, only_second=second, neither=neither) is None


def test_undecided_answers_are_no_part_of_kappa_and_unparsed_is_not_right():
    right, wrong = Judged(right=20, wrong=5, undecided=0), Judged(right=4, wrong=9, undecided=0)
    unparsed = Judged(right=6, wrong=6, undecided=0)
    agreement = agreement_of(right, wrong, unparsed)
    assert agreement.kappa == pytest.approx(0.4)
    open_ones = agreement_of(Judged(right=20, wrong=5, undecided=99), wrong, unparsed)
    assert open_ones.kappa == agreement.kappa


def test_agreements_add_up_before_kappa_is_taken():
    def one(right: int, wrong: int):
        return agreement_of(
            Judged(right=right, wrong=0, undecided=1),
            Judged(right=0, wrong=wrong, undecided=0),
            Judged(right=0, wrong=0, undecided=0),
        )

    assert (one(3, 0).kappa, one(0, 3).kappa) == (None, None)
    assert add_agreements([one(3, 0), one(0, 3)]).kappa == pytest.approx(1)
    assert add_agreements([one(3, 0), one(0, 3)]).right == Judged(right=3, wrong=0, undecided=2)
