"""A small indexer in this process that obeys the protos: images are described by a few words each.

Texts and images share a space of word vectors with one direction of its own for "this can be seen", so that what a
composer does with a repository can be said beforehand.
"""

# ruff: noqa: N802  # gRPC names the methods
import io
import re
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations

import grpc
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xcomp_composer.illustrate.retrieval.paragraphs import load_examples
from xcomp_indexer.search import background
from xcomp_protos import common_pb2 as common
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.errors import Conflict, Denied, InvalidRequest, NotFound, Unavailable
from xcomp_protos.server.run import ServerEndpoint, ServiceSpec, start_server

Context = grpc.ServicerContext

WIDTH = 512
_WORD = re.compile(r"[a-z]+|[\u4e00-\u9fff]")
_ENGLISH = (
    "a an and are as at be been by for from had has have he her his i in is it its me my not of on or our she so than"
    " that the their them they this to was we were what when where which who will with you your"
)
_COMMON = frozenset([*_ENGLISH.split(), *"的了是在一有不着和上"])  # words that say nothing of a image


@dataclass(frozen=True)
class ToyImage:
    """A image of the toy repository."""

    id: str
    shows: str
    metadata: Mapping[str, str | int | float] = field(default_factory=dict)
    labels: tuple[tuple[str, str, float], ...] = ()
    size: tuple[int, int] = (640, 480)
    content_hash: str = ""


_COFFEE = {"caption": "A cup of espresso", "caption_zh": "一杯咖啡", "credit": "Ada", "license": "CC0"}
_LIGHTHOUSE = {"title": "Lighthouse <b>\u202e*on* a cliff</b>"}
_MOTORCYCLE = {"title": "Red motorcycle", "title_zh": "红色摩托车"}
IMAGES = (
    ToyImage("motorcycle", "red motorcycle garage 摩托车 车库", _MOTORCYCLE),
    ToyImage("coffee", "cup coffee espresso table 咖啡 杯子", _COFFEE),
    ToyImage("cat", "ginger cat whiskers 猫 胡须", labels=(("tabby", "虎斑猫", 0.8),), size=(400, 600)),
    ToyImage("tulips", "pink tulips flower bed 郁金香 花坛", labels=(("daisy", "雏菊", 0.2),)),
    ToyImage("lighthouse", "white lighthouse cliff sea 灯塔 悬崖", _LIGHTHOUSE),
    ToyImage("bridge", "stone bridge river 石桥 河水"),
    ToyImage("train", "steam train station 火车 车站"),
    ToyImage("mountain", "snow mountain peak 雪山 山峰"),
)


class ToyIndexer(rpc.IndexerServicer):
    """Implements what a composer asks of an indexer."""

    def __init__(self, images: Sequence[ToyImage] = IMAGES) -> None:
        self.images = {image.id: image for image in images}
        self.calls: list[str] = []
        self.restricted: set[str] = set()  # ids that are fetched only by who may see them
        self.away_from = 10**9  # number of the call from which on no call is answered
        self.held = threading.Event()  # while it is not set, searches wait
        self.held.set()
        self.searching = threading.Event()
        self._seen = self._concrete()
        self._vectors = {id_: self.embed(image.shows) for id_, image in self.images.items()}
        texts = background.texts(("en", "zh")) if images else []
        self._background = np.sort([_standouts(self._scores(self.embed(text))).max() for text in texts])

    def _concrete(self) -> set[str]:
        shown = [image.shows for image in self.images.values()]
        return (
            set(_WORD.findall(" ".join([*shown, *load_examples("en").scenes, *load_examples("zh").scenes]).lower()))
            - _COMMON
        )

    def embed(self, text: str) -> NDArray[np.float64]:
        """Embeds a text: its words, and whether any of them can be seen."""
        words = [word for word in _WORD.findall(text.lower()) if word not in _COMMON]
        vector = np.zeros(WIDTH)
        for word in words:
            vector += np.random.default_rng(zlib.crc32(word.encode())).normal(size=WIDTH)
        vector /= max(float(np.linalg.norm(vector)), 1e-9)
        visible = sum(word in self._seen for word in words) / max(len(words), 1)
        vector = np.append(vector, 0.25 * (2 * min(2 * visible, 1.0) - 1))
        return vector / np.linalg.norm(vector)

    def Describe(self, request: pb.DescribeRequest, context: Context) -> pb.DescribeResponse:
        self._called("Describe", context)
        if request.repository not in ("", "toy"):
            raise NotFound(f"there is no repository {request.repository!r}: xcomp repo list shows those that are")
        space = pb.Space(name="toy", model="toy", dimension=WIDTH + 1, languages=["en", "zh"])
        return pb.DescribeResponse(repositories=[pb.Repository(name="toy", profile="lite", spaces=[space])])

    def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        self._called("Embed", context)
        try:
            texts = [each.text or each.image.decode() for each in request.inputs]
        except UnicodeDecodeError:
            raise InvalidRequest("an image cannot be used: it is none", field="inputs") from None
        vectors = [pb.Vector(values=self.embed(text).tolist()) for text in texts]
        return pb.EmbedResponse(space="toy", vectors=vectors)

    def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:
        self._called("Search", context)
        self.searching.set()
        self.held.wait(timeout=60)
        if request.profile not in ("", "lite"):
            raise Conflict(f"repository 'toy' has the profile lite, not {request.profile}")
        results = [self._result(query, request) for query in request.queries]
        ids = dict.fromkeys([*(hit.image.id for each in results for hit in each.hits), *request.compare_ids])
        pairs = self._similarities([id_ for id_ in ids if id_ in self.images], request.min_similarity)
        return pb.SearchResponse(results=results, similarities=pairs if request.min_similarity else ())

    def _similarities(self, ids: Sequence[str], minimum: float) -> list[pb.Similarity]:
        pairs = [(one, other, float(self._vectors[one] @ self._vectors[other])) for one, other in combinations(ids, 2)]
        close = sorted((pair for pair in pairs if pair[2] >= minimum), key=lambda pair: -pair[2])
        return [pb.Similarity(image_id=one, other_id=other, cosine=cosine) for one, other, cosine in close]

    def GetImages(self, request: pb.GetImagesRequest, context: Context) -> pb.GetImagesResponse:
        self._called("GetImages", context)
        order = list(self.images)
        known = [id_ for id_ in dict.fromkeys(request.ids) if id_ in self.images]
        return pb.GetImagesResponse(images=[self._hit(order.index(id_), 1, 0.0, 0.0).image for id_ in known])

    def _result(self, query: pb.Query, request: pb.SearchRequest) -> pb.QueryResult:
        part = query.parts[0]
        vector = self._vector(part.image_id) if part.image_id else self.embed(part.text)
        scores = self._scores(vector)
        standouts = _standouts(scores)
        allowed = [
            i for i, id_ in enumerate(self.images)
            if id_ not in request.exclude_ids and (not request.only_ids or id_ in request.only_ids)
        ]  # fmt: skip
        order = sorted(allowed, key=lambda i: -scores[i])[: request.k]
        hits = [self._hit(i, rank, float(scores[i]), float(standouts[i])) for rank, i in enumerate(order, start=1)]
        background = None
        if len(self._background):
            median, ninth_decile = np.quantile(self._background, (0.5, 0.9))
            background = common.Background(median=float(median), ninth_decile=float(ninth_decile))
        vectors = {"toy": pb.Vector(values=vector.tolist())} if request.query_vectors else {}
        return pb.QueryResult(spaces=["toy"], hits=hits, background=background, vectors=vectors)

    def _hit(self, index: int, rank: int, score: float, standout: float) -> common.Hit:
        toy = list(self.images.values())[index]
        image = common.Image(
            id=toy.id,
            repository="toy",
            path=f"/photos/{toy.id}.jpg",
            width=toy.size[0],
            height=toy.size[1],
            content_hash=toy.content_hash or toy.id,
            labels=[common.Label(en=en, zh=zh, probability=p) for en, zh, p in toy.labels],
        )
        image.metadata.update(toy.metadata)
        confidence = float(np.searchsorted(self._background, standout)) / len(self._background)
        spaces = {"toy": common.SpaceScore(rank=rank, score=score, standout=standout)}
        return common.Hit(image=image, rank=rank, score=score, spaces=spaces, standout=standout, confidence=confidence)

    def _scores(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray([each @ vector for each in self._vectors.values()])

    def _vector(self, id_: str) -> NDArray[np.float64]:
        if id_ not in self._vectors:
            raise NotFound(f"there is no image {id_!r}")
        return self._vectors[id_]

    def Fetch(self, request: pb.FetchRequest, context: Context) -> Iterator[pb.FetchResponse]:
        self._called("Fetch", context)
        if request.image_id in self.restricted and not request.allow_restricted:
            raise Denied(f"{request.image_id} is internal")
        data, suffix = self.fetch(request.image_id, request.max_px)
        yield pb.FetchResponse(header=pb.FetchHeader(suffix=suffix, size_bytes=len(data)))
        yield pb.FetchResponse(chunk=data)

    def Ingest(self, request: pb.IngestRequest, context: Context) -> Iterator[pb.IngestEvent]:
        raise NotImplementedError

    def Upload(self, request_iterator: Iterator[pb.UploadRequest], context: Context) -> pb.UploadResponse:
        raise NotImplementedError

    def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        raise NotImplementedError

    def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.DeleteResponse:
        raise NotImplementedError

    def CreateRepository(self, request: pb.CreateRepositoryRequest, context: Context) -> pb.CreateRepositoryResponse:
        raise NotImplementedError

    def ListRepositories(self, request: pb.ListRepositoriesRequest, context: Context) -> pb.ListRepositoriesResponse:
        raise NotImplementedError

    def DeleteRepository(self, request: pb.DeleteRepositoryRequest, context: Context) -> pb.DeleteRepositoryResponse:
        raise NotImplementedError

    def AddSpace(self, request: pb.AddSpaceRequest, context: Context) -> Iterator[pb.AddSpaceEvent]:
        raise NotImplementedError

    def SwitchSpaces(self, request: pb.SwitchSpacesRequest, context: Context) -> pb.SwitchSpacesResponse:
        raise NotImplementedError

    def DropSpace(self, request: pb.DropSpaceRequest, context: Context) -> pb.DropSpaceResponse:
        raise NotImplementedError

    def Export(self, request: pb.ExportRequest, context: Context) -> Iterator[pb.ExportResponse]:
        raise NotImplementedError

    def Duplicates(self, request: pb.DuplicatesRequest, context: Context) -> Iterator[pb.DuplicatesEvent]:
        raise NotImplementedError

    def Import(self, request_iterator: Iterator[pb.ImportRequest], context: Context) -> pb.ImportResponse:
        raise NotImplementedError

    def Optimize(self, request: pb.OptimizeRequest, context: Context) -> Iterator[pb.OptimizeEvent]:
        raise NotImplementedError

    def Snapshot(self, request: pb.SnapshotRequest, context: Context) -> pb.SnapshotResponse:
        raise NotImplementedError

    def ListSnapshots(self, request: pb.ListSnapshotsRequest, context: Context) -> pb.ListSnapshotsResponse:
        raise NotImplementedError

    def fetch(self, image_id: str, max_px: int) -> tuple[bytes, str]:
        """Returns a image of one colour."""
        if image_id not in self.images:
            raise NotFound(f"there is no image {image_id!r}")
        image = Image.new("RGB", self.images[image_id].size, f"#{zlib.crc32(image_id.encode()) & 0xFFFFFF:06x}")
        image.thumbnail((max_px, max_px))
        content = io.BytesIO()
        image.save(content, "JPEG")
        return content.getvalue(), ".jpg"

    def _called(self, name: str, context: Context) -> None:
        self.calls.append(name)
        if len(self.calls) >= self.away_from:
            raise Unavailable("the indexer is away")


def _standouts(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(scores) < 2:
        return np.zeros_like(scores)
    return np.asarray((scores - scores.mean()) / max(float(scores.std()), 1e-6))


@contextmanager
def serving(toy: ToyIndexer) -> Iterator[str]:
    """Serves the toy on a free port of loopback; yields its address."""
    service = ServiceSpec("xcomp.v1.Indexer", lambda server: rpc.add_IndexerServicer_to_server(toy, server))
    with start_server([service], ServerEndpoint("127.0.0.1:0")) as running:
        running.set_health(1)
        yield running.address


class PatientCallContext:
    """A call that waits for ten minutes and is never cancelled."""

    def remaining_s(self) -> float:
        return 600.0

    def is_cancelled(self) -> bool:
        return False

    def on_cancel(self, callback: object) -> None:
        pass
