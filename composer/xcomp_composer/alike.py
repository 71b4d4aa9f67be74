"""Which pictures count as one: those of the same content, and those of nearly the same view."""

from collections.abc import Iterable

from xcomp_composer.indexer import Hit, Repository

ALIKE = 0.97  # similarity from which two pictures count as the same


def twins(found: Iterable[Hit], repository: Repository) -> dict[str, str]:
    """Gives pictures that are alike one name, by their ids; a picture that stands alone has its own."""
    hits = {hit.image_id: hit for hit in found}
    names = {image_id: image_id for image_id in hits}
    if len(hits) < 2:
        return names
    first: dict[str, str] = {}
    pairs = [(image_id, first.setdefault(hit.content_hash or image_id, image_id)) for image_id, hit in hits.items()]
    pairs += [(one, other) for one, other, similarity in repository.similarities(sorted(hits)) if similarity >= ALIKE]
    for one, other in pairs:
        low, high = sorted((names[one], names[other]))
        names = {image_id: low if name == high else name for image_id, name in names.items()}
    return names
