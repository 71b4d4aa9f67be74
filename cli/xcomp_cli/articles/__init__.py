"""Read an article from a file, follow its illustration, write the result."""
