"""Names of what training and scoring leave for the report, which reads them without loading torch."""

REPORT = "report.json"  # the same in the store, where it is no run of its own
METRICS = "metrics.jsonl"
ANSWERS, PREDICTIONS, SCORE = "answers.jsonl", "predictions.jsonl", "score.json"
PERMUTATIONS = "permutations.jsonl"
