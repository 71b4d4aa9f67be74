"""Markdown, HTML and plain text, split into blocks: `splitting` chooses the module of a format."""
