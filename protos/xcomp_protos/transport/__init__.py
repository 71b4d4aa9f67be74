"""Former names of modules, kept for programs that import them."""
