"""How a network is run on a CPU: OpenVINO executes graphs that `graphs` builds from the original weight files."""
