"""Summaries, tables, figures and the W&B export. No torch here; matplotlib, rich and wandb load only where used."""
