"""How Markdown, HTML and plain text are split into segments."""
