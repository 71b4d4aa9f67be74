"""Prompt templates of InternLM-XComposer 1 and 2."""
