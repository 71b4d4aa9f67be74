"""Where the weights of embedding models come from, and how to open them."""
