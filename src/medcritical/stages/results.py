"""Names of what training and scoring leave for the report, which reads them without loading torch."""

METRICS = "metrics.jsonl"
ANSWERS, PREDICTIONS, SCORE = "answers.jsonl", "predictions.jsonl", "score.json"
PERMUTATIONS = "permutations.jsonl"
