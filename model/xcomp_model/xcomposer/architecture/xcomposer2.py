"""InternLM-XComposer2 (Dong et al. 2024, arXiv 2401.16420) on the modules of transformers.

A CLIP ViT-L/14 and a two-layer projector encode an image. Its patches stand between the embeddings of the words and
are read by InternLM2, a Llama with a partial LoRA in every linear.
"""

from contextlib import AbstractContextManager

from torch import Tensor, nn
from transformers import CLIPVisionModel, LlamaForCausalLM

from xcomp_model.xcomposer.architecture.config import XComposer2Config
from xcomp_model.xcomposer.architecture.plora import ImageRows, PLoRALinear

FLOAT32: tuple[str, ...] = ()


class XComposer2(nn.Module):
    """Vision encoder, projector, and the language model with its partial LoRA."""

    def __init__(self, config: XComposer2Config) -> None:
        super().__init__()
        width = config.llm.hidden_size
        self.vision = CLIPVisionModel(config.vision)
        self.vision.post_layernorm = nn.Identity()  # type: ignore[assignment]  # the release has none
        self.projector = nn.Sequential(nn.Linear(config.vision.hidden_size, width), nn.GELU(), nn.Linear(width, width))
        self.llm = LlamaForCausalLM(config.llm)
        self._rows = ImageRows()
        self._add_partial_lora(config)
        self.image_size = config.image_size
        self.rows_per_image = config.patches

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Turns [B, 3, S, S] into the rows of each image, [B, P, D]: every patch, without the class token."""
        patches = self.vision(pixel_values=pixel_values).last_hidden_state[:, 1:]
        rows: Tensor = self.projector(patches)
        return rows

    def image_rows(self, mask: Tensor) -> AbstractContextManager[None]:
        """Marks the positions [B, T] that pass the low-rank parts, too."""
        return self._rows.mark(mask)

    def _add_partial_lora(self, config: XComposer2Config) -> None:
        for layer in self.llm.model.layers:
            for module in (layer.self_attn, layer.mlp):
                for name, linear in list(module.named_children()):
                    if isinstance(linear, nn.Linear):
                        part = PLoRALinear(linear, config.plora_rank, scale=config.plora_scale, rows=self._rows)
                        setattr(module, name, part)
            attention = layer.self_attn
            attention.k_proj.plora_a = attention.v_proj.plora_a = attention.q_proj.plora_a
