"""The words that take an answer back: negated, merely supposed, cited from elsewhere, corrected, left undecided."""

from __future__ import annotations

import re

from medcritical.text.extraction.cues import compile_any, words

_NOT = [*words("not n't never cannot without neither nor unable unsure doubt wrongly mistakenly refuse")]
_NOT_FILLERS = words(
    "think thinks believe say saying mean to be been that the necessarily want going correct true feel comfortable"
    " have can could would simply just really sure if whether a an any than of"
)
_NOT_ZH = words("不 别 勿 莫 未 误 错 无法 难以 并非 没有? 否定 排除 拒绝 易")
_NOT_FILLERS_ZH = words("能 应该 应当 应 该 会 要 宜 可 去 再 是 直接 给出 提供 确定 简单 轻易 贸然 就 在")
NEGATED = compile_any(
    [
        rf"(?:{'|'.join(_NOT)}|rather than|instead of)\s{{0,2}}(?:(?:{'|'.join(_NOT_FILLERS)})\s{{1,2}}){{0,5}}",
        rf"(?:{'|'.join(_NOT_ZH)})(?:{'|'.join(_NOT_FILLERS_ZH)}){{0,3}}",
    ],
    after=r"\Z",
)

_IF = words(
    "if assuming suppose supposing whether were could might may can initially someone students many people first"
)
_IF_FILLERS = words(
    "the i we you my that correct best right it one was people would might may could to simply students often is were"
    " thought"
)
_IF_ZH = words(
    "如果 若 假如 假设 倘若 要是 有人 有同学 考生 很多人 许多人 容易 易 是否 能否 起初 最初 一开始 原先 原本 原来 本来 先前"
    " 初看 (?<!最)可能 也许 或许"
)
_IF_FILLERS_ZH = words("本题 此题 的话 认为 会 就 可能 误 直接 应该 应 我 把 ,")
SUPPOSED = compile_any(
    [
        rf"\b(?:{'|'.join(_IF)}|tempt(?:ed|ing) to|at first,?|would have|first thought) (?:(?:{'|'.join(_IF_FILLERS)}) ){{0,4}}",
        rf"(?:{'|'.join(_IF_ZH)})(?:{'|'.join(_IF_FILLERS_ZH)}){{0,3}}",
    ],
    after=r"\Z",
)

# "if the patient had mania, the answer would be B": of another case than this one
UNREAL = re.compile(
    r"(?:\A|[.;!?\n])\s{0,2}(?:but\s)?(?:if|had|were)\s[^.;!?\n]{0,60}\Z|\bif\s[^.;!?\n]{0,50}\b(?:had|were|was)\b[^.;!?\n]{0,50}\Z"
)

_CITING = [
    *(r"e\.g\.,?", "(?:for )?(?:example|instance),?", "such as", "like", "as in", "using", "please", "template", "or"),
    *("format(?: is| of| was)?", "in the form(?:at)?(?: of)?", "contain(?:s|ed|ing)?", "reads?", "reading"),
    *("sa(?:ys?|id|ying)", "stat(?:es?|ed|ing)", "claim(?:s|ed|ing)?", "instruct(?:s|ed|ing)?", "told", "tells?"),
    *("ask(?:s|ed|ing)?", "order(?:s|ed|ing)?", "demand(?:s|ed|ing)?", "quot(?:es?|ed|ing)"),
    *(r"(?:end|begin|start)s?(?: \w{1,8}){0,3} with", "write", "output", "reply", "respond", "phrase", "string"),
    *("embed(?:s|ded|ding)?", "insert(?:s|ed)?", "inject(?:s|ed)?", "includ(?:es?|ed|ing)", "ignor(?:es?|ed|ing)"),
    "disregard(?:s|ed|ing)?",
    *(
        "或者?",
        "例如",
        "比如",
        "如",
        "形如",
        "诸如",
        "格式(?:为|是|如下)?",
        "示例",
        "范例",
        "模板",
        "样例",
        "写[着道有成]",
    ),
    *(
        "混入了?",
        "出现了?",
        "包含了?",
        "含有?",
        "要求",
        "要我",
        "让我",
        "命令",
        "指示",
        "声称",
        "所谓的?",
        "输出",
        "请",
    ),
    *("直接", "按照?", "(?<![所可])以", "忽略", "无视", "植入了?", "插入了?", "夹带了?"),
]
_CITING_FILLERS = words(
    "the an a that to text string tag line phrase instruction me your you only just i should must with letter"
    " 了 我们 我 直接 把 一个 你"
)
CITED = compile_any(
    _CITING,
    before=r"(?<![a-z])",
    after=rf"[\s:\"'`*(\[{{\1]{{0,4}}(?:(?:{'|'.join(_CITING_FILLERS)})[\s:\"'`*]{{0,3}}){{0,5}}\Z",
)
DISMISSED = compile_any(
    [
        *("disregard", "ignor(?:e (?:it|this|that)|ed|ing (?:it|this|that))", "is an? (?:injected|embedded)"),
        *(r"(?:not|n't) (?:\w{1,8} )?(?:follow|obey|comply)", "part of the (?:question|stem|prompt|input)"),
        *(
            "in the (?:stem|prompt|question) (?:is|are)",
            "题[目干](?:里|中|的一部分)",
            "不予",
            "不理会",
            "不执行",
            "不采纳",
        ),
        *("忽略", "这是题"),
    ],
    before=r"[^\n。.]{0,60}?",
)

CORRECTION = compile_any(
    [
        *("wait", "actually", "hmm", "hold on", "no,", "nope", "correction", "scratch that", "oops", "sorry,"),
        *("on (?:second thought|reflection|reconsideration)", "let me (?:correct|reconsider|rethink|revise)"),
        *("i misread", "i was wrong", "my mistake"),
        *(
            "不对",
            "等等",
            "等一下",
            "更正",
            "重新(?:看|审|考虑|思考|分析|想)",
            "修正",
            "改选",
            "改为",
            "说错",
            "写错",
            "看错",
        ),
        *("纠正", "应更改", "搞错", "抱歉", "[哦噢啊嗯]不", "不不"),
    ],
    after="(?:[,\\s]{0,2}(?:应该?|应当|而|就)?是)?",
)
_UNABLE = "(?:cannot|can't|can not|unable to|could not|impossible to|hard to|difficult to|not able to)"
_DECIDE_ZH = "(?:确定|判断|抉择|决定|取舍|选择|定夺)"
UNDECIDED = compile_any(
    [
        rf"{_UNABLE} (?:\w{{1,12}} ){{0,2}}(?:decide|choose|determine|tell|distinguish|say|commit|pick)",
        *("torn between", "undecided", "toss-?up", "equally (?:likely|plausible|possible)"),
        *(f"{unable}{_DECIDE_ZH}" for unable in ("无法", "难以", "不能")),
        *("拿不准", "不好说", "很难说", "说不准", "两可", "[均都]有可能", "[均都]有道理", "犹豫", "定不下来"),
    ]
)
_NOTHING_MORE = re.compile(r"[\s\"')\]*_`$}]{0,8}(?:[.。!]|<\s?/\s?\w{1,12}\s?>)?[\s\"')\]*]{0,6}\Z")


def is_final_word(lowered: str, end: int) -> bool:
    """True when nothing but punctuation or a closing tag follows `end`."""
    return _NOTHING_MORE.match(lowered, end) is not None
