"""Groups images that count as the same, and finds those that are merely close.

Two images of one group are never shown both. Close ones may be, but a model should choose among different images.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from xcomp_composer.indexer_client.hit import Hit, ImagePair
from xcomp_composer.indexer_client.repository import RepositoryClient

SAME = 0.97  # cosine similarity from which on two images count as the same
CLOSE = 0.9  # provisional: from which on they are two views of one scene


@dataclass(frozen=True)
class SimilarityGroups:
    """Names of groups by image id, one for images that count as the same; and pairs of close images."""

    groups: Mapping[str, str] = field(default_factory=dict)
    close: frozenset[frozenset[str]] = frozenset()

    def group(self, image_id: str) -> str:
        """Returns the name of the group of an image; its own id if it is in none."""
        return self.groups.get(image_id, image_id)

    def diversify(self, hits: Iterable[Hit]) -> Iterator[Hit]:
        """Yields hits, best first, but those last that are close to an earlier one."""
        kept: list[str] = []
        late: list[Hit] = []
        for hit in hits:
            if any(frozenset((hit.image_id, other)) in self.close for other in kept):
                late.append(hit)
                continue
            kept.append(hit.image_id)
            yield hit
        yield from late


def group_similar(
    images: Iterable[Hit], pairs: Sequence[ImagePair] | None, repository: RepositoryClient
) -> SimilarityGroups:
    """Groups images by their content hashes and by the similar pairs of a search; asks for pairs if it has none."""
    hits = {hit.image_id: hit for hit in images}
    if len(hits) < 2:
        return SimilarityGroups()
    first: dict[str, str] = {}
    same = [(image_id, first.setdefault(hit.content_hash or image_id, image_id)) for image_id, hit in hits.items()]
    compared = repository.compare(sorted(hits)) if pairs is None else pairs
    close = [pair for pair in compared if pair.similarity >= CLOSE and {pair.image_id, pair.other_id} <= hits.keys()]
    same += [(pair.image_id, pair.other_id) for pair in close if pair.similarity >= SAME]
    return SimilarityGroups(_merge(hits, same), frozenset(frozenset(pair[:2]) for pair in close))


def _merge(ids: Iterable[str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    names = {image_id: image_id for image_id in ids}
    for one, other in pairs:
        low, high = sorted((names[one], names[other]))
        names = {image_id: low if name == high else name for image_id, name in names.items()}
    return names
