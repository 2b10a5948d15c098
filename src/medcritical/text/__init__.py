"""Text in and out: prompts, the template's strict form, and the answer read from a response."""

from medcritical.text.answers import Extraction, extract_answer

__all__ = ["Extraction", "extract_answer"]
