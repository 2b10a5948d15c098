"""Command-line entries. `main` is the Hydra application; nothing else imports Hydra."""
