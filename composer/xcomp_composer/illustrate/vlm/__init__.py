"""Illustration by a vision-language model: spots, queries, selection, captions."""
