"""InternLM-XComposer 1.0 (Zhang et al. 2023, arXiv 2309.15112) on the modules of transformers.

An EVA ViT-g and a perceive sampler with learned queries encode an image. A projection and two flags turn the result
into rows, which stand between the embeddings of the words and are read by InternLM, a Llama with attention biases.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerModel, Blip2VisionModel, LlamaForCausalLM

from xcomp_model.xcomposer.architecture.config import XComposer1Config

# The sampler and what follows it run in fp32, as released.
FLOAT32 = ("qformer.", "query_tokens", "projector.", "flag_image_")


class XComposer1(nn.Module):
    """The parts of the paper's figure 2: visual encoder, perceive sampler, language model."""

    def __init__(self, config: XComposer1Config) -> None:
        super().__init__()
        width = config.llm.hidden_size
        self.vision = Blip2VisionModel(config.vision)
        self.vision.post_layernorm.eps = 1e-5  # as released; the norms of the blocks have 1e-6
        self.query_tokens = nn.Parameter(torch.empty(1, config.queries, config.sampler.hidden_size))
        self.qformer = Blip2QFormerModel(config.sampler)
        self.projector = nn.Linear(config.sampler.hidden_size, width)
        self.flag_image_start = nn.Parameter(torch.empty(1, 1, width))
        self.flag_image_end = nn.Parameter(torch.empty(1, 1, width))
        self.llm = LlamaForCausalLM(config.llm)
        self.image_size = config.image_size
        self.rows_per_image = config.queries + 2

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Turns [B, 3, S, S] into the rows of each image, [B, Q + 2, D]."""
        patches = self.vision(pixel_values=pixel_values).last_hidden_state  # [B, P + 1, ViT width]
        queries = self.query_tokens.to(patches.device).expand(len(patches), -1, -1)
        features = self.qformer(query_embeds=queries, encoder_hidden_states=patches).last_hidden_state
        rows = self.projector(features)  # [B, Q, D]
        start, end = (
            flag.to(rows.device).expand(len(rows), -1, -1) for flag in (self.flag_image_start, self.flag_image_end)
        )
        return torch.cat((start, rows, end), dim=1)

    def image_rows(self, mask: Tensor) -> AbstractContextManager[None]:  # noqa: ARG002
        """Does nothing: images and words pass the same weights in this model."""
        return nullcontext()


class HalfPrecisionRotary(nn.Module):
    """Replaces the `rotary_emb` of the Llama, for comparisons with the released fp16 runtime.

    The release multiplied positions and frequencies in half precision, so its angles drift (0.6 rad at position 2047).
    """

    def __init__(self, *, head_dim: int, theta: float) -> None:
        super().__init__()
        exponents = torch.arange(0, head_dim, 2).float() / head_dim
        self.register_buffer("inv_freq", (1.0 / theta**exponents).half(), persistent=False)

    @torch.no_grad()
    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Returns cos and sin, [B, T, head_dim], in the dtype of x."""
        frequencies = self.get_buffer("inv_freq").to(x.device)
        angles = position_ids[..., None].half() * frequencies  # [B, T, head_dim / 2], rounded to fp16
        both = torch.cat((angles, angles), dim=-1)
        return both.cos().to(x.dtype), both.sin().to(x.dtype)
