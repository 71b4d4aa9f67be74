"""How a loaded network runs: device and memory, KV cache, forward passes, shared decoding steps."""
