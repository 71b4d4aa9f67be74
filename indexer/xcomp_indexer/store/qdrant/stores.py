"""The repositories of a Qdrant server: the collections with our prefix.

`connect` reaches a server by REST or gRPC, `memory` makes one inside this process for tests.
"""

import logging
import warnings
from collections.abc import Mapping
from functools import partial
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models

from xcomp_indexer.store import IndexKind, search_params, validate
from xcomp_indexer.store.qdrant.client import Call, RetryingClient, SerialClient
from xcomp_indexer.store.qdrant.store import FORMAT, FORMAT_KEY, QdrantStore
from xcomp_protos.errors import Conflict, InvalidRequest, NotFound

_log = logging.getLogger(__name__)
_PREFIX = "xcomp_"
PATIENCE_S = 10.0  # how long a call with a temporary failure is retried
_SLOW_S = 3600  # a snapshot of millions takes minutes
_RECONNECT = {"grpc.initial_reconnect_backoff_ms": 200, "grpc.max_reconnect_backoff_ms": 2000}


class QdrantStores:
    """The repositories of one server: the collections with our prefix."""

    def __init__(
        self, client: QdrantClient, call: Call, *, indexes: Mapping[str, IndexKind], params: models.SearchParams | None
    ) -> None:
        self._client, self._call, self._indexes, self._params = client, call, indexes, params

    @property
    def place(self) -> str:
        """The address, for messages."""
        return self._call.place

    def names(self) -> list[str]:
        """Names of the repositories, sorted."""
        collections = self._call(self._client.get_collections).collections
        return sorted(each.name.removeprefix(_PREFIX) for each in collections if each.name.startswith(_PREFIX))

    def exists(self, name: str) -> bool:
        """Says whether there is such a repository."""
        collection = _PREFIX + validate.name(name)
        return self._call(lambda: self._client.collection_exists(collection))

    def create(self, name: str, spaces: Mapping[str, int]) -> QdrantStore:
        """Creates a repository and opens it."""
        validate.spaces(spaces)
        if self.exists(name):
            raise Conflict(f"repository {name!r} exists already")
        vectors = {space: _vector(dimension) for space, dimension in spaces.items()}
        self._call(
            lambda: self._client.create_collection(
                _PREFIX + name,
                vectors_config=vectors,
                quantization_config=_int8(),
                on_disk_payload=True,
                metadata={FORMAT_KEY: FORMAT},
            )
        )
        return self.open(
            name
        )  # which creates the payload indexes while it is empty: only then graphs get links for filters

    def open(self, name: str) -> QdrantStore:
        """Opens a repository."""
        self._require(name)
        store = QdrantStore(self._client, self._call, collection=_PREFIX + name, params=self._params)
        store.check_format()
        store.index(self._indexes)
        return store

    def drop(self, name: str) -> None:
        """Removes a repository and all its vectors."""
        self._require(name)
        self._call(lambda: self._client.delete_collection(_PREFIX + name))

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _require(self, name: str) -> None:
        if not self.exists(name):
            raise NotFound(f"no repository {name!r}: index one first, or see which exist with 'xcomp repo list'")


def connect(
    address: str,
    *,
    api_key: str | None,
    indexes: Mapping[str, IndexKind],
    timeout_s: int = 30,
    patience_s: float | None = None,
) -> QdrantStores:
    """Returns the repositories of a server; the first call to it connects.

    Args:
        address: `http(s)://HOST:PORT`, `grpc(s)://HOST:PORT`, or `memory:` for tests.
        api_key: of a server that wants one.
        indexes: the payload keys to index.
        timeout_s: for one call; the client's default of 5 s is too short for a bulk write on a busy server.
        patience_s: how long a call with a temporary failure is retried; None: `PATIENCE_S`.
    """
    if address == "memory:":
        return memory()
    made = partial(_client, address, api_key)
    call = RetryingClient(address, PATIENCE_S if patience_s is None else patience_s, partial(made, _SLOW_S))
    if api_key and not _is_secure(address):
        _log.warning("event=store_key_in_the_clear place=%s", address)
    return QdrantStores(made(timeout_s), call, indexes=indexes, params=_params())


def _client(address: str, api_key: str | None, timeout_s: int) -> QdrantClient:
    host, port = _place(address)
    scheme = urlsplit(address).scheme
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Api key is used with an insecure connection")  # `connect` logs it
        return QdrantClient(
            host=host,
            port=port if scheme.startswith("http") else 6333,
            grpc_port=port,
            prefer_grpc=scheme.startswith("grpc"),
            https=_is_secure(address),
            api_key=api_key,
            timeout=timeout_s,
            grpc_options=dict(_RECONNECT),
            check_compatibility=False,  # it would only warn, in a thread
        )


def _is_secure(address: str) -> bool:
    return urlsplit(address).scheme in ("https", "grpcs")


def memory() -> QdrantStores:
    """Returns repositories that live as long as the returned object: for tests, slow and exact."""
    return QdrantStores(
        QdrantClient(":memory:"), SerialClient(), indexes={}, params=None
    )  # neither has an effect there, and both warn


def _place(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidRequest(f"store address {address!r}: {error}") from None
    if not host or parts.username or parts.path.strip("/") or parts.query:
        raise InvalidRequest(
            f"store address {parts.scheme}://…: use {parts.scheme}://HOST:PORT, pass the key separately"
        )
    return host, port or (6333 if parts.scheme.startswith("http") else 6334)


def _params() -> models.SearchParams:
    rescored = models.QuantizationSearchParams(rescore=True, oversampling=search_params.OVERSAMPLING)
    return models.SearchParams(hnsw_ef=search_params.LARGE, quantization=rescored)


def _int8() -> models.ScalarQuantization:
    """Return int8 codes in memory, a quarter of the vectors, which stay on disk for rescoring."""
    int8 = models.ScalarQuantizationConfig(
        type=models.ScalarType.INT8, quantile=search_params.QUANTILE, always_ram=True
    )
    return models.ScalarQuantization(scalar=int8)


def _vector(dimension: int) -> models.VectorParams:
    return models.VectorParams(size=dimension, distance=models.Distance.COSINE, on_disk=True)
