"""A file as large as CMExam's train split: load, validate and de-duplicate in under 20 s and 1 GB on one core."""

import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

NUM_ROWS, MAX_SECONDS, MAX_BYTES = 54_497, 20.0, 1_000_000_000
NUM_COPIES = 500

LOAD = """
import json, resource, sys, time
from pathlib import Path
from medcritical.config.choices import DataFormat, OnError
from medcritical.data.load import load_questions
start = time.process_time()
result = load_questions(Path(sys.argv[1]), DataFormat.cmexam_csv, encoding="utf-8", language="zh", source="cmexam",
                        on_error=OnError.reject, split="train")
seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([result.report.read, result.report.accepted, len(result.report.skipped), seconds, peak]))
"""


def write_rows(path: Path) -> None:
    """Rows with the lengths of CMExam's: stems of 12-500 characters, five options, explanations of 65-2,678."""
    draw = random.Random(0)
    signs = [chr(code) for code in range(0x4E00, 0x5A00)]

    def words(mean: float, most: int) -> str:
        return "".join(draw.choices(signs, k=min(most, 4 + int(draw.expovariate(1 / mean)))))

    rows = []
    for _ in range(NUM_ROWS - NUM_COPIES):
        options = "\n".join(f"{letter} {words(8, 60)}" for letter in "ABCDE")
        explanation = "" if draw.random() < 0.15 else f"{words(220, 2678)}（{draw.choice('ABCDE')}对）"
        answer = "".join(sorted(draw.sample("ABCDE", 3))) if draw.random() < 0.03 else draw.choice("ABCDE")
        rows.append([words(26, 500), options, answer, explanation])
    rows += rows[:NUM_COPIES]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["Question", "Options", "Answer", "Explanation"], *rows])


@pytest.mark.slow
def test_a_file_of_the_size_of_cmexam(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    write_rows(path)
    one_core = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(path)], capture_output=True, text=True, check=True, env=one_core
    )
    read, accepted, skipped, seconds, peak = json.loads(done.stdout)
    print(f"{path.stat().st_size / 1e6:.0f} MB, {seconds:.1f} s, {peak / 1e6:.0f} MB at most")
    assert (read, accepted, skipped) == (NUM_ROWS, NUM_ROWS - NUM_COPIES, NUM_COPIES)
    assert seconds < MAX_SECONDS
    assert peak < MAX_BYTES
