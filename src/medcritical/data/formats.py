"""The upstream formats: what a row of each says about its question. `load.py` checks and cleans it, once for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcritical.config.choices import DataFormat
from medcritical.data.conversations import parse_conversation
from medcritical.data.drafts import Draft, list_field, meta_of, text_field
from medcritical.data.normalise import clean_text, is_placeholder, read_options, split_options, without_label
from medcritical.data.report import RejectedRow, SkippedRow, quote
from medcritical.data.rows import Row, read_csv, read_headerless_csv, read_json, read_json_or_jsonl, read_jsonl

_CMEXAM_SLICES = {
    "disease_group": ("disease group", "icd-11"),
    "department": ("clinical department", "department"),
    "discipline": ("medical discipline", "discipline"),
    "competency": ("area of competency", "medical competency", "competency"),
    "difficulty": ("difficulty level", "difficulty"),
}
_MMLU_COLUMNS = ("question", "A", "B", "C", "D", "answer")
_OWN_FIELDS = frozenset(("id", "stem", "options", "answer", "language", "split", "source", "explanation", "meta"))


def parse_cmexam(row: Row, changes: set[str]) -> Draft:
    """CMExam: options as labelled lines of one cell; annotation columns become slices in `meta`."""
    cells = row.value
    return Draft(
        stem=cells["question"],
        options=split_options(cells["options"], changes),
        answer=cells["answer"],
        explanation=cells.get("explanation", ""),
        meta=meta_of(cells, _CMEXAM_SLICES),
    )


def parse_medqa(row: Row, changes: set[str]) -> Draft:
    """MedQA, MedAgentsBench, MMLU-Pro: `answer_idx` is the letter, `answer` the text that confirms it.

    Copies without `answer_idx` have the letter or the text in `answer`.
    """
    cells = row.value
    if cells.get("options") is None:
        raise SkippedRow("no options")
    options = read_options(cells["options"], changes)
    letters, text = text_field(cells, "answer_idx"), text_field(cells, "answer")
    if not letters and text:
        letters, text = _letters_of(text, options), ""
    return Draft(
        stem=text_field(cells, "question", required=True),
        options=options,
        answer=letters,
        answer_text=text,
        id=_id_of(cells, "realidx", "question_id", "id"),
        meta=meta_of(cells, {"step": ("meta_info",), "subject": ("category",), "origin": ("src",)}),
    )


def parse_huatuo(row: Row, changes: set[str]) -> Draft:
    """HuatuoGPT-o1: a question as in MedQA, and the teacher's trace for it; a row without its trace is skipped."""
    for name in ("Complex_CoT", "Response"):
        if is_placeholder(clean_text(text_field(row.value, name), changes)):
            raise SkippedRow(f"no {name}")
    return parse_medqa(row, changes)


def _letters_of(answer: str, options: Mapping[str, str]) -> str:
    """The letter whose text is `answer`, perhaps after its label, or `answer` itself where it is no option's text."""
    written = answer.strip()
    found = [letter for letter, text in options.items() if text.strip() in (written, without_label(written, letter))]
    if found and answer.strip() in options and answer.strip() not in found:
        raise RejectedRow("answer is the letter of one option and the text of another", quote(answer))
    return found[0] if found else answer


def parse_medmcqa(row: Row, changes: set[str]) -> Draft:
    """MedMCQA: `cop` counts the right option from 1; -1 marks the unlabelled test rows."""
    cells = row.value
    return Draft(
        stem=text_field(cells, "question", required=True),
        options=read_options({letter: cells.get(f"op{letter.lower()}") for letter in "ABCD"}, changes),
        answer=_letter_of_cop(cells.get("cop")),
        id=_id_of(cells, "id"),
        explanation=text_field(cells, "exp"),
        meta=meta_of(cells, {"subject": ("subject_name",), "topic": ("topic_name",), "choice": ("choice_type",)}),
    )


def _letter_of_cop(cop: Any) -> str:
    """The letter; "" for an unlabelled row. A whole number counts as text and as 2.0, too: tables write it so."""
    if cop in (None, ""):
        return ""
    written = "" if isinstance(cop, bool) else str(cop).strip().removesuffix(".0")
    if written == "-1":
        return ""
    if written not in ("1", "2", "3", "4"):
        hint = "; a copy that counts from 0 has every letter one off" if written == "0" else ""
        raise RejectedRow("cop is not 1 to 4", f"{quote(cop)}{hint}")
    return "ABCD"[int(written) - 1]


def parse_pubmedqa(row: Row, changes: set[str]) -> Draft:
    """PubMedQA: the abstract's parts, then the question; the options are yes, no, maybe, always in this order."""
    cells = row.value
    contexts = list_field(cells, "CONTEXTS")
    decision = text_field(cells, "final_decision")
    options = {"A": "yes", "B": "no", "C": "maybe"}
    label = decision.strip().casefold()
    if label and label not in options.values():
        raise RejectedRow("final_decision is not yes, no or maybe", quote(decision))
    if label != decision:
        changes.add("answer written in another form")
    return Draft(
        stem="\n".join([*contexts, text_field(cells, "QUESTION", required=True)]),
        options=options,
        answer=next((letter for letter, text in options.items() if text == label), ""),
        id=row.name,
        explanation=text_field(cells, "LONG_ANSWER"),
        meta=meta_of(cells, {"year": ("YEAR",)}),
    )


def parse_mmlu(row: Row, changes: set[str]) -> Draft:
    """MMLU: question, four options, letter; the subject is the file's name."""
    cells = row.value
    return Draft(
        stem=cells["question"],
        options={letter: cells[letter] for letter in "ABCD"},
        answer=cells["answer"],
        meta={"subject": cells["subject"]},
    )


def parse_own(row: Row, changes: set[str]) -> Draft:
    """This program's own form: the fields of `Question`; stem, options and answer are needed."""
    cells = row.value
    unknown = sorted(set(cells) - _OWN_FIELDS)
    if unknown:
        raise RejectedRow("unknown field", f"{quote(unknown[0])}, known are {', '.join(sorted(_OWN_FIELDS))}")
    meta = cells.get("meta") or {}
    if not isinstance(meta, dict):
        raise RejectedRow("meta is not an object", quote(meta))
    if cells.get("split"):
        changes.add("split set by the file's list, not by the row")
    return Draft(
        stem=text_field(cells, "stem", required=True),
        options=read_options(cells.get("options"), changes),
        answer=text_field(cells, "answer", required=True),
        id=text_field(cells, "id"),
        has_final_id=True,
        explanation=text_field(cells, "explanation"),
        language=text_field(cells, "language"),
        source=text_field(cells, "source"),
        meta=meta,
    )


def _id_of(cells: Mapping[str, Any], *names: str) -> str:
    """The upstream id, text or whole number; empty where there is none."""
    found = next((cells[name] for name in names if cells.get(name) is not None), "")
    if isinstance(found, bool) or not isinstance(found, (str, int)):
        raise RejectedRow("id is neither text nor a whole number", quote(found))
    return str(found)


def _read_mmlu(text: str, path: Path) -> Iterator[Row]:
    subject = path.stem
    for part in ("_test", "_val", "_dev"):
        subject = subject.removesuffix(part)
    for row in read_headerless_csv(text, _MMLU_COLUMNS):
        yield row._replace(value={**row.value, "subject": subject})


@dataclass(frozen=True)
class Format:
    """How a file becomes rows, and a row a draft."""

    read: Callable[[str, Path], Iterator[Row]]
    parse: Callable[[Row, set[str]], Draft]


FORMATS: dict[DataFormat, Format] = {
    DataFormat.cmexam_csv: Format(
        lambda text, path: read_csv(text, path, ("question", "options", "answer")), parse_cmexam
    ),
    DataFormat.medqa_jsonl: Format(lambda text, _: read_jsonl(text), parse_medqa),
    DataFormat.medmcqa_jsonl: Format(lambda text, _: read_jsonl(text), parse_medmcqa),
    DataFormat.pubmedqa_json: Format(read_json, parse_pubmedqa),
    DataFormat.huatuo_json: Format(read_json_or_jsonl, parse_huatuo),
    DataFormat.mmlu_csv: Format(_read_mmlu, parse_mmlu),
    DataFormat.sharegpt_json: Format(read_json_or_jsonl, parse_conversation),
    DataFormat.jsonl: Format(lambda text, _: read_jsonl(text), parse_own),
}
