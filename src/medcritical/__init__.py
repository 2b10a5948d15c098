"""MedCritical: thought-template SFT and self-iterated DPO for medical exam questions (arXiv 2509.23368)."""

__version__ = "0.1.0"
