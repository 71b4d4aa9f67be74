"""Embedding models: `base` is their interface, `registry` the table of their families.

`load` imports only the libraries of the family that it loads, so that importing this package stays cheap.
"""

from typing import TYPE_CHECKING

from xcomp_indexer.embed import registry
from xcomp_indexer.embed.engine.execution import AUTO, Execution
from xcomp_protos.errors import ModelError

if TYPE_CHECKING:
    from xcomp_indexer.embed.base import Embedder  # the command line reads the registry and has no numpy


def load(model: str, execution: Execution = AUTO) -> "Embedder":
    """Loads the model that `family:name` names, and tests it.

    Raises:
        InvalidRequest: there is no such family.
        ModelError: weights or libraries are missing, a digest is wrong, or the model fails the self-test; the message
            says what to do.
    """
    from xcomp_indexer.embed import selftest

    family = registry.family_of(model)
    family.check_libraries(model)
    release = family.release(model)
    release.find()  # before the libraries, which take seconds to import
    try:
        embedder = family.load(release, execution)
    except ImportError as error:
        raise ModelError(f"{model} needs {error.name or error}: install it with {family.install}") from error
    selftest.check(embedder)
    return embedder
