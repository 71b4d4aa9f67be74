"""Where weights of embedding models come from, and how they are opened."""
