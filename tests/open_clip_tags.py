"""Writes weights/open_clip_tags.json from the library: `python -m tests.open_clip_tags`."""

import json

import open_clip  # type: ignore[import-untyped]  # it ships no types

from xcomp_indexer.embed.clip.openclip_config import Configuration
from xcomp_indexer.embed.weights import sources

_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode", "quick_gelu")


def collect() -> dict[str, dict[str, object]]:
    """Returns configurations of architectures, and of the tags on the hub that have a graph."""
    networks: dict[str, object] = {}
    tags: dict[str, object] = {}
    for architecture, tag in open_clip.list_pretrained():
        network = open_clip.get_model_config(architecture)
        released = open_clip.get_pretrained_cfg(architecture, tag)
        said = {key: released[key] for key in _PREPROCESSING if key in released}
        if released.get("hf_hub") and Configuration(network, said).has_graph():
            networks[architecture] = network
            tags[f"{architecture}/{tag}"] = {"hf_hub": released["hf_hub"], **said}
    return {"networks": networks, "tags": tags}


if __name__ == "__main__":
    sources.TAGS.write_text(json.dumps(collect(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
