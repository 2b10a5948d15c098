"""Engines: what turns prompts into responses, behind one protocol."""
