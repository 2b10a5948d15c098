"""Which language a text is in."""

import pytest

from medcritical.text.language import is_in_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The patient has a fever.", "en"),
        ("患者发热三天。", "zh"),
        ("患者 CRP 升高，考虑 bacterial infection，予 ceftriaxone 治疗。", "zh"),
        ("The sign is called 三凹征 in Chinese textbooks and means dyspnoea.", "en"),
    ],
)
def test_the_greater_part_decides(text: str, language: str) -> None:
    assert is_in_language(text, language)
    assert not is_in_language(text, "en" if language == "zh" else "zh")


def test_a_text_without_words_is_in_every_language() -> None:
    assert is_in_language("38.5 → 37.2", "en")
    assert is_in_language("", "zh")
