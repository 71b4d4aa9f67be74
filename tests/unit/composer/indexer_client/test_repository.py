"""One repository as a request sees it: opened once, searched in calls that fit into a message."""

from collections.abc import Iterator

import grpc
import pytest

from tests.toy_indexer import PatientCallContext, ToyIndexer, serving
from xcomp_composer.indexer_client.connection import IndexerConnection
from xcomp_composer.indexer_client.repository import Conditions, RepositoryClient, SpaceLanguages
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos import indexer_pb2_grpc as rpc
from xcomp_protos.errors import Exhausted


class SmallIndexer(ToyIndexer):
    """An indexer whose answers hold two queries; it may be busy instead."""

    def __init__(self) -> None:
        super().__init__()
        self.retry_after_s: float | None = None

    def Search(self, request: pb.SearchRequest, context: grpc.ServicerContext) -> pb.SearchResponse:  # noqa: N802
        answer = super().Search(request, context)
        if len(request.queries) > 2:
            raise Exhausted("full", retry_after_s=self.retry_after_s)
        return answer


@pytest.fixture
def small() -> SmallIndexer:
    return SmallIndexer()


@pytest.fixture
def repository(small: SmallIndexer) -> Iterator[RepositoryClient]:
    with serving(small) as address, grpc.insecure_channel(address) as channel:
        connection = IndexerConnection(rpc.IndexerStub(channel), "toy", PatientCallContext())
        yield RepositoryClient.open(connection, Conditions("toy"))


def test_an_opened_repository_knows_its_profile_and_its_spaces(repository: RepositoryClient) -> None:
    assert repository.profile == "lite"
    assert repository.spaces == (SpaceLanguages("toy", frozenset({"en", "zh"})),)
    assert repository.space == "toy"
    assert repository.understands("zh")
    assert repository.foreign == ""


def test_an_answer_over_the_limit_is_asked_for_in_halves(repository: RepositoryClient, small: SmallIndexer) -> None:
    result = repository.search(["red motorcycle", "ginger cat", "stone bridge", "pink tulips"], k=1, min_similarity=0.9)
    assert [hits[0].image_id for hits in result.hits] == ["motorcycle", "cat", "bridge", "tulips"]
    assert small.calls.count("Search") == 3
    assert result.pairs is None  # no answer had all images


def test_a_busy_indexer_is_not_asked_again(repository: RepositoryClient, small: SmallIndexer) -> None:
    small.retry_after_s = 5.0
    with pytest.raises(Exhausted) as caught:
        repository.search(["red motorcycle", "ginger cat", "stone bridge"], k=1)
    assert caught.value.retry_after_s == 5.0
    assert small.calls.count("Search") == 1


def test_images_are_read_by_id_in_order_whatever_the_filters_say(
    repository: RepositoryClient, small: SmallIndexer
) -> None:
    filtered = repository.excluding(["cat"])
    assert [image.image_id for image in filtered.get_images(["cat", "nobody", "coffee", "cat"])] == ["cat", "coffee"]
    assert filtered.get_images([]) == []
    assert small.calls == ["Describe", "GetImages"]


def test_pairs_of_a_search_and_of_a_comparison_agree(repository: RepositoryClient) -> None:
    result = repository.search(["red motorcycle"], k=8, min_similarity=1e-6)
    assert result.pairs
    compared = {frozenset(pair[:2]): pair.similarity for pair in repository.compare(list(PAIRED))}
    for pair in result.pairs:
        if {pair.image_id, pair.other_id} <= PAIRED:
            assert compared[frozenset(pair[:2])] == pytest.approx(pair.similarity, abs=1e-6)


PAIRED = {"coffee", "cat", "train", "bridge"}
