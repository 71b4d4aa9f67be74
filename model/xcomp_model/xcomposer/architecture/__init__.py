"""The networks of InternLM-XComposer 1 and 2 as torch modules, and their configuration."""
