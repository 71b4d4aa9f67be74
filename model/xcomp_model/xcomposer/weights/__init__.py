"""Released checkpoints: key names, conversion, GPTQ, loading."""
