"""Which published files can be had in one command, and what their bytes are known to hash to.

A URL with a commit in it never changes. `sha256` is set where it is known from more than one reader of that file; it is
never guessed: without it a file is trusted on its first download, and what it hashed to is written down beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medcritical.config.choices import DataFormat


@dataclass(frozen=True)
class RemoteFile:
    """One published file: `path` is where it goes under the data folder, as conf/data has it.

    `members` of an archive maps the names inside it to paths under the data folder; of any other file it is empty.
    """

    url: str
    path: str
    sha256: str = ""
    members: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Download:
    """The files of one data set; `usage` is what the command line needs beside `paths.data`."""

    format: DataFormat
    files: tuple[RemoteFile, ...]
    usage: str


_CMEXAM = "https://raw.githubusercontent.com/williamliujl/CMExam/fadb22c89beb1b7115dc36460ba792eb96b7b972/data"
_PUBMEDQA = "https://raw.githubusercontent.com/pubmedqa/pubmedqa/1cbae8e92f72f20c8d3747cbb3bf5bc53554d997/data"
_MMLU_SUBJECTS = (
    "anatomy",
    "clinical_knowledge",
    "college_biology",
    "college_medicine",
    "medical_genetics",
    "professional_medicine",
)

DOWNLOADS: dict[str, Download] = {
    "cmexam": Download(
        DataFormat.cmexam_csv,
        tuple(
            RemoteFile(f"{_CMEXAM}/{name}.csv", f"cmexam/{name}.csv")
            for name in ("train", "val", "test_with_annotations")
        ),
        "data=cmexam",
    ),
    "medqa": Download(
        DataFormat.medqa_jsonl,
        (
            # The authors publish a Google Drive link, which no program can rely on; this is the same archive, mirrored.
            RemoteFile(
                "https://huggingface.co/datasets/bigbio/med_qa/resolve/main/data_clean.zip",
                "medqa/data_clean.zip",
                members={
                    f"data_clean/questions/{name}": f"medqa/{name}"
                    for name in (
                        *(f"US/{split}.jsonl" for split in ("train", "dev", "test")),
                        *(f"US/4_options/phrases_no_exclude_{split}.jsonl" for split in ("train", "dev", "test")),
                    )
                },
            ),
        ),
        "data=medqa",
    ),
    "pubmedqa": Download(
        DataFormat.pubmedqa_json,
        (
            RemoteFile(
                f"{_PUBMEDQA}/ori_pqal.json",
                "pubmedqa/ori_pqal.json",
                "8b3276be8942ebbd77f3ddcda12c1749bf0e490045a736fd8438ee40cf37a41d",
            ),
            RemoteFile(
                f"{_PUBMEDQA}/test_ground_truth.json",
                "pubmedqa/test_ground_truth.json",
                "939fe566f09017d13b1ca64d2ddfee0bc2374b366048152997669cccedc44d51",
            ),
        ),
        "data=pubmedqa",
    ),
    "mmlu": Download(
        DataFormat.mmlu_csv,
        (
            RemoteFile(
                "https://people.eecs.berkeley.edu/~hendrycks/data.tar",
                "mmlu/data.tar",
                "bec563ba4bac1d6aaf04141cd7d1605d7a5ca833e38f994051e818489592989b",
                {f"data/test/{subject}_test.csv": f"mmlu/test/{subject}_test.csv" for subject in _MMLU_SUBJECTS},
            ),
        ),
        "data=mmlu",
    ),
    "huatuo": Download(
        DataFormat.huatuo_json,
        (
            RemoteFile(
                "https://raw.githubusercontent.com/FreedomIntelligence/HuatuoGPT-o1/main/data/demo_data.json",
                "huatuo_o1/demo_data.json",
            ),
        ),
        "teacher=recorded",
    ),
}


@dataclass(frozen=True)
class ByHand:
    """A data set that cannot be had in one command, and why."""

    format: DataFormat
    reason: str


BY_HAND: dict[str, ByHand] = {
    "medmcqa": ByHand(
        DataFormat.medmcqa_jsonl,
        "the authors' archive is on a shared drive (link in github.com/medmcqa/medmcqa), which no program can rely on, and "
        "the copy on Hugging Face (openlifescienceai/medmcqa) is parquet, which no loader reads: put train.json and dev.json "
        "of the archive into FOLDER/medmcqa",
    ),
    "mmlu_pro": ByHand(
        DataFormat.medqa_jsonl,
        "the authors publish parquet (Hugging Face, TIGER-Lab/MMLU-Pro), which no loader reads: take the JSON Lines of "
        "github.com/gersteinlab/medagents-benchmark and put them at FOLDER/medagents_benchmark/mmlu-pro/test.jsonl",
    ),
}


def provider_of(path: Path, folder: Path) -> str | None:
    """The data set whose download puts a file at `path` of the data folder; None where none does."""
    for name, download in DOWNLOADS.items():
        for remote in download.files:
            if path in {folder / place for place in (remote.path, *remote.members.values())}:
                return name
    return None
