"""Where each upstream format is published and under which licence."""

from __future__ import annotations

from dataclasses import dataclass

from medcritical.config.choices import DataFormat
from medcritical.data.downloads import BY_HAND, DOWNLOADS

_OWN = "your own file"


@dataclass(frozen=True)
class Publication:
    """A data set's title, the place its authors publish it, its licence, and the files that hold it."""

    title: str
    publisher: str
    licence: str
    files: str


PUBLICATIONS: dict[DataFormat, Publication] = {
    DataFormat.cmexam_csv: Publication(
        "CMExam",
        "github.com/williamliujl/CMExam",
        "Apache-2.0; its README adds: academic and research use only",
        "data/train.csv, data/val.csv, data/test_with_annotations.csv",
    ),
    DataFormat.medqa_jsonl: Publication(
        "MedQA (also MedAgentsBench and MMLU-Pro)",
        "github.com/jind11/MedQA, github.com/gersteinlab/medagents-benchmark",
        "MIT",
        "questions/US/train.jsonl, dev.jsonl, test.jsonl",
    ),
    DataFormat.medmcqa_jsonl: Publication("MedMCQA", "github.com/medmcqa/medmcqa", "MIT", "train.json, dev.json"),
    DataFormat.pubmedqa_json: Publication("PubMedQA", "github.com/pubmedqa/pubmedqa", "MIT", "data/ori_pqal.json"),
    DataFormat.huatuo_json: Publication(
        "HuatuoGPT-o1",
        "github.com/FreedomIntelligence/HuatuoGPT-o1",
        "no licence file; the card of its larger set says Apache-2.0; the reasoning was written by GPT-4o",
        "data/demo_data.json",
    ),
    DataFormat.mmlu_csv: Publication("MMLU", "github.com/hendrycks/test", "MIT", "test/<subject>_test.csv"),
    DataFormat.sharegpt_json: Publication(
        "ShareGPT conversations", _OWN, "yours", "a list of {conversations: [{from, value}, ...]}"
    ),
    DataFormat.jsonl: Publication(
        "questions in this program's own form", _OWN, "yours", "lines of {stem, options, answer, ...}"
    ),
}


def how_to_get(format: DataFormat) -> str:
    """One sentence for a file that is not there: who publishes it, under which licence, and what to set."""
    source = PUBLICATIONS[format]
    if source.publisher == _OWN:
        return f"Give a file of your own with {source.files}, in data.files.train, data.files.dev or data.files.test."
    return (
        f"{source.title} comes from {source.publisher} ({source.files}; licence: {source.licence}). "
        f"{_remedy(format)} set data.files.train, data.files.dev, data.files.test or teacher.files to its path."
    )


def _remedy(format: DataFormat) -> str:
    names = [name for name, download in DOWNLOADS.items() if download.format is format]
    if names:
        return f"Run `medcritical data fetch {names[0]} --to FOLDER` and set paths.data to that folder, or"
    reasons = [one.reason for one in BY_HAND.values() if one.format is format]
    return "Download it yourself" + "".join(f" ({reason})" for reason in reasons) + " and"
