"""Students as Hugging Face causal language models: made, loaded, adapted, saved, and spoken to."""
