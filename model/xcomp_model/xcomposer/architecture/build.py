"""Builds a network from its configuration, without memory for its weights."""

import torch

from xcomp_model.xcomposer.architecture import xcomposer1, xcomposer2
from xcomp_model.xcomposer.architecture.config import Config, XComposer1Config

Network = xcomposer1.XComposer1 | xcomposer2.XComposer2


def build(config: Config, *, attention: str = "sdpa") -> Network:
    """Builds the modules on the meta device, where parameters take no memory."""
    for part in (config.vision, config.llm, *([config.sampler] if isinstance(config, XComposer1Config) else [])):
        part._attn_implementation = attention
    with torch.device("meta"):
        network = (
            xcomposer1.XComposer1(config) if isinstance(config, XComposer1Config) else xcomposer2.XComposer2(config)
        )
    return network.eval()


def parameter_shapes(network: Network) -> dict[str, torch.Size]:
    """Returns the shape of every parameter by its name; shared parameters once."""
    return {name: parameter.shape for name, parameter in network.named_parameters()}


def dtype_of(name: str, config: Config, dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype of a parameter: the requested one, or fp32 for the parts that need it."""
    kept = xcomposer1.FLOAT32 if isinstance(config, XComposer1Config) else xcomposer2.FLOAT32
    return torch.float32 if name.startswith(kept) else dtype
