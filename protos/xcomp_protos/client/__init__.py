"""The typed clients of both services; `clients` has their calls, `channel` how a connection is made."""

from xcomp_protos.client.clients import ComposerClient, IndexerClient

__all__ = ["ComposerClient", "IndexerClient"]
