"""Model folders in the released formats, small enough for tests: from the golden weights, or with random ones."""

import json
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"

# The sizes of tests/golden/xcomposer1/config.json, said as a model folder says them.
SIZES_1 = {
    "model_type": "InternLMXComposer", "vocab_size": 200, "hidden_size": 64, "intermediate_size": 172,
    "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
    "kqvo_bias": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": -1, "num_query_token": 6,
    "internlm_lora": {"lora_r": 4, "lora_alpha": 8, "learn_param": ["q", "v", "ffn"]},
    "vision_tower": {
        "image_size": 56, "patch_size": 14, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 279,
    },
    "sampler": {
        "hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96,
        "encoder_hidden_size": 64,
    },
}  # fmt: skip
# Those of tests/golden/xcomposer2/config.json.
SIZES_2 = {
    "model_type": "internlmxcomposer2", "vocab_size": 200, "hidden_size": 64, "intermediate_size": 160,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
    "max_length": 4096, "rms_norm_eps": 1e-5, "rope_theta": 1000000, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 2, "img_size": 56, "plora": {"rank": 8, "alpha": 8},
    "vision_tower": {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "patch_size": 14,
    },
}  # fmt: skip


def golden_folder(version: int, folder: Path, **changes: object) -> Path:
    """Lays the golden weights out as a model folder; `changes` go into its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {1: SIZES_1, 2: SIZES_2}[version]
    (folder / "config.json").write_text(json.dumps(sizes | changes), encoding="utf-8")
    (folder / "model.safetensors").symlink_to(GOLDEN / f"xcomposer{version}" / "weights.safetensors")
    return folder
