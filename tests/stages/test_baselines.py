"""Published models write in their own formats, and are read in them."""

import pytest

from configurations import configure
from medcritical.config.schema import BaselineConfig
from medcritical.records import Completion, Question
from medcritical.selfplay.verify import read_attempt
from medcritical.text.prompts import attempt_prompt
from medcritical.text.thoughts import ThoughtFormat

QUESTION = Question(
    id="q",
    stem="下列哪种药物用于抗凝？",
    options={"A": "阿司匹林", "B": "肝素", "C": "胰岛素"},
    answer="B",
    language="zh",
    split="test",
    source="t",
)
REPLIES = {
    "huatuogpt_o1_7b": "## Thinking\n\nA抗血小板，B抗凝。\n\n## Final Response\n\n肝素用于抗凝，答案是B。",
    "deepseek_r1_distill_qwen_7b": "<think>\n也许是A？不，阿司匹林抗血小板。\n</think>\n\n肝素抗凝，故选B。答案是B",
    "taiyi": "正确答案是B。肝素是抗凝药。",
    "qwen2_5_7b_instruct": "1. 阿司匹林抗血小板。\n2. 肝素抗凝。\n\n答案是B",
}


def baseline(name: str) -> BaselineConfig:
    return configure(f"baseline={name}").baselines[name]


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_in_the_models_own_format_is_read(name: str) -> None:
    template = baseline(name).template
    completion = Completion(text=REPLIES[name], prompt_tokens=1, completion_tokens=1, is_finished=True)
    attempt = read_attempt(ThoughtFormat(template), QUESTION, completion, round=0)
    assert (attempt.letters, attempt.outcome, attempt.is_well_formed) == ("B", "right", True)


@pytest.mark.parametrize("name", REPLIES)
def test_a_model_is_asked_in_its_own_way(name: str) -> None:
    prompt = attempt_prompt(baseline(name).template, QUESTION)
    assert prompt.system == ""
    assert all(text in prompt.user for text in (QUESTION.stem, "A 阿司匹林", "B 肝素", "C 胰岛素"))
    assert "<answer>" not in prompt.user
