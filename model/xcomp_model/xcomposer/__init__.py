"""InternLM-XComposer 1.0 and 2 as native models: `release` opens them; the files beside it are their parts."""
