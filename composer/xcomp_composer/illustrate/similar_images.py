"""Which pictures count as one, those of the same content or of nearly the same view, and which are merely close.

Twins are never shown both. Close ones may be, but a model that chooses among four should see four different pictures.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from xcomp_composer.indexer_client.hit import Hit
from xcomp_composer.indexer_client.repository import RepositoryClient

ALIKE = 0.97  # similarity from which two pictures count as the same
CLOSE = 0.9  # provisional: from which they are two views of one scene


@dataclass(frozen=True)
class SimilarityGroups:
    """Names of groups by image id, one for pictures that count as one; and pairs that are close."""

    groups: Mapping[str, str] = field(default_factory=dict)
    close: frozenset[frozenset[str]] = frozenset()

    def group(self, image_id: str) -> str:
        """Returns the name that a picture shares with its twins, its own id where it has none."""
        return self.groups.get(image_id, image_id)

    def diverse(self, hits: Iterable[Hit]) -> Iterator[Hit]:
        """Yields hits, best first, those last that are close to one before them."""
        kept: list[str] = []
        late: list[Hit] = []
        for hit in hits:
            if any(frozenset((hit.image_id, other)) in self.close for other in kept):
                late.append(hit)
                continue
            kept.append(hit.image_id)
            yield hit
        yield from late


def likeness(found: Iterable[Hit], repository: RepositoryClient) -> SimilarityGroups:
    """Compares pictures with each other, each pair once."""
    hits = {hit.image_id: hit for hit in found}
    if len(hits) < 2:
        return SimilarityGroups()
    first: dict[str, str] = {}
    pairs = [(image_id, first.setdefault(hit.content_hash or image_id, image_id)) for image_id, hit in hits.items()]
    similar = [pair for pair in repository.similarities(sorted(hits)) if pair[2] >= CLOSE]
    pairs += [(one, other) for one, other, similarity in similar if similarity >= ALIKE]
    return SimilarityGroups(_grouped(hits, pairs), frozenset(frozenset((one, other)) for one, other, _ in similar))


def _grouped(ids: Iterable[str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    names = {image_id: image_id for image_id in ids}
    for one, other in pairs:
        low, high = sorted((names[one], names[other]))
        names = {image_id: low if name == high else name for image_id, name in names.items()}
    return names
