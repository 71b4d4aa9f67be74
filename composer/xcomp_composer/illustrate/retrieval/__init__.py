"""Illustration without a language model: spots and images by the scores of the repository's own spaces."""
