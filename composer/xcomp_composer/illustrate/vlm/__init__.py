"""Illustration by a vision-language model: placement, queries, selection, captions."""
