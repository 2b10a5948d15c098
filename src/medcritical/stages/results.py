"""Names of what training and scoring leave for the report, which reads them without loading torch."""

METRICS = "metrics.jsonl"
PREDICTIONS, SCORE = "predictions.jsonl", "score.json"
