"""What the stage `pair` writes of a play made by hand: how many pairs of a question, and what nothing would be learned from."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from configurations import configure
from medcritical.config.choices import Chosen
from medcritical.config.stages import PairStage
from medcritical.errors import TrainingError
from medcritical.pipeline.slices import Slices
from medcritical.records import Attempt, Correction, PreferencePair, Question, TaughtCorrection, ThoughtTemplate
from medcritical.stages import pair
from medcritical.stages.context import Inputs, Output
from medcritical.stages.play import ATTEMPTS, CORRECTIONS
from medcritical.stages.teach import CORRECTIONS as TAUGHT
from medcritical.store import ArtefactRef, Store, write_records
from medcritical.text.thoughts import ThoughtFormat

CONFIG = configure("arm=[dpo_self,nll_corrections]")
FORM = ThoughtFormat(CONFIG.template)
STAGE = Slices(CONFIG).pair(CONFIG.arms["dpo_self"], 1)
PLAY, BY_TEACHER = (ArtefactRef(stage=stage, key=digit * 64) for stage, digit in (("play", "1"), ("teach", "2")))


def attempt(text: str, letters: str, number: int = 1) -> Attempt:
    question = Question(
        id=f"q{number}",
        stem="fever",
        options={"A": "rash", "B": "cold"},
        answer="A",
        language="en",
        split="train",
        source="test",
    )
    return Attempt(
        question=question,
        text=FORM.render([f"plan {text}"], [f"step {text}"], letters),
        letters=letters,
        rule="test",
        is_correct=letters == "A",
        is_well_formed=True,
        is_sound=None,
        prompt_tokens=1,
        completion_tokens=1,
        round=0,
    )


WRONG = [attempt(name, "B") for name in "abc"]
RIGHT = [attempt("right", "A", number) for number in (2, 3)]
CORRECTED = Correction(wrong=WRONG[0], insight="i", corrected=attempt("better", "A"))


def run(
    root: Path, stage: PairStage, attempts: list[Attempt], corrections: list[Correction], taught: tuple[Any, ...] = ()
) -> tuple[list[PreferencePair], dict[str, Any]]:
    store = Store(root)
    for ref in (PLAY, BY_TEACHER):
        store.folder(ref).mkdir(parents=True, exist_ok=True)
    write_records(store.folder(PLAY) / ATTEMPTS, attempts)
    write_records(store.folder(PLAY) / CORRECTIONS, corrections)
    write_records(store.folder(BY_TEACHER) / TAUGHT, taught)
    (root / "made").mkdir(exist_ok=True)
    output = Output(root / "made", CONFIG.trainer, lambda *progress: None)
    pair.run(stage, Inputs(store, {"play": PLAY, "taught": BY_TEACHER}), output)
    return pair.read_records(root / "made" / pair.PAIRS, PreferencePair), output.facts


@pytest.mark.parametrize(("most", "expected"), [(1, 1), (2, 2), (None, 3)])
def test_a_correction_is_preferred_to_several_wrong_attempts(tmp_path: Path, most: int | None, expected: int) -> None:
    stage = dataclasses.replace(STAGE, pairs_per_question=most)
    pairs, facts = run(tmp_path, stage, [*WRONG, *RIGHT], [CORRECTED])
    contrasts = [item for item in pairs if item.rejected is not None]
    assert contrasts[0].rejected == WRONG[0].text  # the one that it corrects
    assert len({item.rejected for item in contrasts}) == len(contrasts) == expected
    assert {item.chosen for item in contrasts} == {CORRECTED.corrected.text}
    assert (facts["pairs"], facts["chosen_alone"], facts["alone_left_out"]) == (expected, 2, 0)
    assert facts["shown"] == [f"{expected} pairs, 2 chosen alone"]


def test_what_teaches_nothing_is_left_out_and_counted(tmp_path: Path) -> None:
    stage = dataclasses.replace(STAGE, keeps_alone=False, trains_corrector=True)
    pairs, facts = run(tmp_path, stage, [*WRONG, *RIGHT], [CORRECTED])
    assert [item.rejected is None for item in pairs] == [False]
    assert (facts["pairs"], facts["chosen_alone"], facts["alone_left_out"]) == (1, 0, 3)  # the corrector's example too
    assert facts["shown"] == ["1 pairs, 0 chosen alone", "3 alone left out"]
    assert facts["made_of"] == {"correction_pair": 1}, "of what is trained on"


def test_where_nothing_is_left_one_sentence_says_why(tmp_path: Path) -> None:
    stage = dataclasses.replace(STAGE, keeps_alone=False)
    with pytest.raises(
        TrainingError, match=r"no pair to train on: none of 2 questions .* the 2 right answers alone"
    ) as one:
        run(tmp_path, stage, RIGHT, [])
    with pytest.raises(TrainingError, match="no pair to train on: none of 1 questions has a verified answer") as other:
        run(tmp_path, STAGE, WRONG, [])
    assert "\n" not in f"{one.value}{other.value}"


def test_where_filters_took_out_every_pair_they_are_to_blame(tmp_path: Path) -> None:
    filters = dataclasses.replace(STAGE.filters, max_overlap=0.0)
    stage = dataclasses.replace(STAGE, keeps_alone=False, filters=filters)
    with pytest.raises(
        TrainingError,
        match=r"^no pair to train on: selfplay\.filters took out all 1 pairs \(1 by overlap\), and 2 right answers alone teach "
        r"nothing with dpo\.nll_weight=0: loosen selfplay\.filters\.$",
    ):
        run(tmp_path, stage, [*WRONG, *RIGHT], [CORRECTED])


def test_every_wrong_attempt_with_its_answer_put_right(tmp_path: Path) -> None:
    stage = dataclasses.replace(STAGE, template=CONFIG.template, chosen=Chosen.answer, pairs_per_question=None)
    pairs, facts = run(tmp_path, stage, [*WRONG, *RIGHT], [])
    contrasts = {item.rejected: item.chosen for item in pairs if item.rejected is not None}
    assert contrasts.keys() == {wrong.text for wrong in WRONG}
    assert all(
        chosen.rpartition("<answer>")[0] == rejected.rpartition("<answer>")[0] for rejected, chosen in contrasts.items()
    )
    assert facts["made_of"] == {"answer_pair": 3, "own_alone": 2}


@pytest.mark.parametrize(("most", "expected"), [(1, 1), (None, 3)])
def test_the_teachers_correction_against_every_wrong_attempt(tmp_path: Path, most: int | None, expected: int) -> None:
    thought = ThoughtTemplate(question=WRONG[0].question, outline=("o",), chain=("c",), answer="A", letters="A")
    taught = TaughtCorrection(template=thought, attempt=WRONG[1].text, insight="i", kind="own")
    stage = dataclasses.replace(STAGE, template=CONFIG.template, chosen=Chosen.teacher, pairs_per_question=most)
    pairs, facts = run(tmp_path, stage, [*WRONG, *RIGHT], [], (taught,))
    rejected = [item.rejected for item in pairs if item.rejected is not None]
    assert rejected[0] == WRONG[1].text
    assert (len(rejected), set(rejected) <= {wrong.text for wrong in WRONG}) == (expected, True)
    assert facts["made_of"] == {"teacher_pair": expected, "own_alone": 2}
