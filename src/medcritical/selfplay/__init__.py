"""Self-play decisions, all pure: judging attempts, spending the budget, making pairs, describing them."""
