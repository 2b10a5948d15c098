"""The words that announce an answer, in English and Chinese.

Fragments of regular expressions, matched against folded lower-case text; a blank stands for any white space, and all
repetition is bounded. A cue may be loose, since it counts only when options are named right behind it. Every cue
begins with a plain character, which lets the search skip through text quickly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_QUANTIFIERS = ("?", "*", "+", "{")


def compile_any(fragments: Iterable[str], *, before: str = "", after: str = "") -> re.Pattern[str]:
    """Returns a pattern for any of the fragments, between `before` and `after`; of several the first wins.

    Fragments are grouped by their first character, since a search tries every branch that it is given.
    """
    by_first: dict[str, list[str]] = {}
    for fragment in fragments:
        first = fragment[0] if fragment[0].isalnum() and fragment[1:2] not in _QUANTIFIERS else ""
        by_first.setdefault(first, []).append(fragment[len(first) :].replace(" ", r"\s"))
    others = by_first.pop("", [])
    joined = "|".join([*(f"{first}(?:{'|'.join(rest)})" for first, rest in by_first.items()), *others])
    return re.compile(f"{before}(?:{joined}){after}" if before or after else joined)


def words(text: str) -> list[str]:
    """Returns the words of a list that is too long to quote one by one."""
    return text.split()


# "is", ":", "would be", "->": what ties "the answer" to a letter.
_LINKS = [
    *words("is are was were be becomes being remains here therefore : = \\| -> --> => →"),
    *(rf"{modal}(?: \w{{4,12}})? be" for modal in ("must", "should", "would", "will", "has to", "have to")),
    *("to this(?: question| item)?", "in this case", "for this (?:question|item)"),
    "i (?:would )?(?:choose|chose|select|picked?)",
    *("go(?:es)? to", "falls on"),
]
_LINK = rf"(?:, \w{{1,12}},)?(?:[\s*_\"'`]{{0,4}}(?:{'|'.join(_LINKS)})(?![a-z])){{1,3}}"

_NOUNS = words("choice selection pick verdict conclusion ans response solution vote decision bet guess preference")
_ADJECTIVES = words(
    "correct right best final proper likely appropriate suitable accurate fitting preferred plausible favored favoured"
    " optimal reasonable chosen selected remaining only last"
)
_VERBS = [
    *("choose", "chose", "choosing", "pick(?:ed|ing)?", "select(?:ed|ing)?", "opt(?:ed|ing)? for", "mark(?:ing)?"),
    *("go(?:ing)? (?:with|for)", "went with", "settl(?:e|ed|ing) (?:on|for)", "vot(?:e|ed|ing) for"),
    *("stick(?:ing)? with", "lean(?:s|ing)? towards?", "answer with", "answered", "answer", "commit(?:ting)? to"),
    *("conclude(?:d)?(?: that)?", "tick(?:ing)?", "circl(?:e|ing)", "identif(?:y|ies)", "arrive at"),
    *("end up (?:with|at|on)", "comes down to", "lea(?:ves|ving|ve)", "left with", "best (?:fits|matches)"),
    *(r"narrow(?:s|ed|ing)?(?: \w{1,8})? down to", r"point(?:s|ing)? (?:\w{1,10} ){0,2}to", "in favou?r of"),
    *("favou?r(?:s|ing)?", "supports?", "indicates?", "matches", "makes? (?:that|it|this)", "i mean", "i answer"),
    *("i(?:'d| would|'ll| will)? say", "let me say"),
    *(f"{sure} (?:in|of|about)" for sure in ("confident", "certain", "sure", "convinced")),
]
_CHANGES = ["chang(?:e|ed|ing)", "switch(?:ed|ing)?", "revis(?:e|ed|ing)", "correct(?:ed|ing)?", "amend(?:ed|ing)?"]
_PRONOUNS = words("it this that which one")
_CONSEQUENCES = words(
    "hence thus therefore ergo correction consequently finally overall amended revised corrected updated"
    " elimination summary conclusion makes"
)
_KEYS = "(?:label|letter|key|pred|prediction|result|output|selected|final|option|value|选项|选择|结果)"

MARKUP_CUES = [
    r"<\|?\s{0,3}(?:final[\s_-]?|begin_of_)?(?:answer|ans|答案|choice|option|result|solution)\s{0,3}\|?>",
    r"\\boxed\s?\{",
    r"\\fbox\s?\{",
    r"\[\s?(?:final )?answer\s?\]",
]
ENGLISH_CUES = [
    rf"answers?(?:_\w{{1,12}})?(?:{_LINK}|[\"'\s]{{1,3}}[(\[]|\s{{0,2}}(?:option|choice)\s|\n| - |>)",
    r"is (?=(?:option|choice)\s[\"'(\[*]{0,2}[a-z][)\"'\]*.\s]{0,4}\Z)",  # the last words are "… is option A."
    r"\na\s?:(?=\s?[a-z](?![a-z]))",
    r"answer's\s",
    r"not (?:option |choice )?[\"'(]?[a-z][\"')]?,? but (?:rather |instead )?",
    *(r"i\.e\.,? ", "namely,? ", "means "),
    "i (?:now |still )?(?:believe|think|prefer)\\s",
    *(rf"{noun}\? (?=[\"'(\[*]{{0,2}}[a-z][)\"'\]*.!]{{0,4}}\s?\Z)" for noun in ("answer", "choice", "option", "one")),
    r"mak(?:es|ing) (?=(?:option )?[\"'(]?[a-z][)\"']? the )",
    *(rf"\n{note}\s?:" for note in ("edit", "edited", "update")),
    *(rf"{noun}s?(?:_\w{{1,12}})?{_LINK}" for noun in _NOUNS),
    *(rf"{quote}{_KEYS}{quote}\s?:" for quote in "\"'"),
    *(rf"{adjective}(?:[\s_][a-z]{{2,16}}){{0,5}}?{_LINK}" for adjective in _ADJECTIVES),
    *(rf"{verb}[\s:]" for verb in _VERBS),
    *(rf"{change}(?: (?:my|the|this|that|it|answer|choice|myself)){{0,2}} to\s" for change in _CHANGES),
    *(rf"{one}(?:'s| is| (?:must|has to|should|would|can only) be| really is)\s" for one in _PRONOUNS),
    *(rf"{word}[,:\s]" for word in (*_CONSEQUENCES, "only", "just")),
    r"so[,:\s](?!(?:is|are|was|were|do|does) )",  # "so is D" says it of D, too
]

_GOOD = words("正确 最佳 恰当 合适 合理 最优 相符 符合题意 对应 成立 最终 最后 最可能 最符合 最合适 最恰当")
_THING = "(?:的?(?:选项有|选项|选择|选|一项|是|为|说法是|应为|应是|应选|只有|答案|有|包括))"
# After words that often announce nothing, the letters have to end the sentence.
_LETTERS_END = r"(?=\s?:?\s?(?:选项)?\s?[a-z]{1,5}\s?(?:选?项)?了?\s?(?:[。.!\n]|\Z))"
CHINESE_CUES = [
    *("答案", "答曰", r"答\s?:", "作答", "结论", "回答", "我的(?:回答|选择|判断)"),
    *(f"{good}{_THING}" for good in _GOOD),
    r"选项(?=\s?(?:是|为|应|:\s?[\"'(\[]?\s?[a-z][\"')\]]?\s?(?:[。,.;\n]|\Z)))",
    *("选(?!项)(?:择|定|取|用|中|出)?", "首选", "勾选"),
    *("判断[为是]", "判定为", "定为", "确定为", "认定为", "锁定为?", "当属", "必[为是]", "无疑是"),
    *("剩[余下]?", "只剩[余下]?", "余下", "留下", "唯有", "唯一", "惟有", "只有", "只能", "仅有", "仅剩?"),
    *("应为", "应该[是为]?", "应当?是", "而是", "其实是", "实际上?是"),
    *(
        "改[为成答]",
        "更正为?",
        "修正为?",
        "订正为?",
        "纠正为?",
        "倾向于?",
        "支持",
        "指向",
        "考虑为?",
        "诊断为",
        "确诊[为是]",
    ),
    *("实则?[为是]", "最[后终](?:确定|认定|判断|选定|锁定)[为是]?"),
    *(f"{so},?" for so in ("因此", "因而", "所以", "综上(?:所述|分析)?", "故", "由此可知", "可知", "可见")),
    *(
        f"{end}{_LETTERS_END}"
        for end in ("那么?[就便]?是", "得[出到]?", "即", "余", ",而?是", "认为[应该当]{0,2}[是为选]")
    ),
    "答案[^。,\n]{1,8},(?:应[该当]?)?[是为]",
]

# These also occur without announcing anything ("so A and the others …"): the options must end the clause.
LOOSE_CUE = compile_any(
    [
        rf"(?:{'|'.join((*_CONSEQUENCES, *_PRONOUNS, 'so', 'only', 'just'))})\b",
        *(
            "indicate",
            "support",
            "favou?r",
            "point",
            "matches",
            "tick",
            "namely",
            "means",
            r"i\.e",
            r"i (?:now |still )?(?:believe|think|prefer)",
            r"answer\s\Z",
            r"is\s\Z",
        ),
        *("因此", "因而", "所以", "综上", r"故,?\Z", "由此可知", "可知", "可见", "仅", "考虑", "支持", "指向"),
        *(r"应该\Z", "回答"),
    ]
)
