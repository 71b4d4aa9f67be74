"""CLIP models as embedders: open_clip and Chinese-CLIP, each through OpenVINO or through torch."""
