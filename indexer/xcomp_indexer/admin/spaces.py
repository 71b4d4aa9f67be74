"""Changes the spaces of a repository while it serves: adds one, switches to others, drops one.

Each change rewrites the record (`repository/spaces.py`) once; `backfill.py` fills a space. A change that makes search
worse is refused with an alternative, unless it is forced.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from xcomp_indexer.admin.backfill import lacks_vector
from xcomp_indexer.embed import wrappers
from xcomp_indexer.repository import spaces
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.image_record import IMAGES
from xcomp_indexer.repository.profiles import SpaceSpec, check_space_name
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.repository.spaces import RepositoryConfig, Space
from xcomp_indexer.store import And, InSpace
from xcomp_protos.errors import Conflict, InvalidRequest, NotFound


@contextmanager
def lock_filling(repository: Repository) -> Iterator[None]:
    """Prevents other calls from filling or dropping a space of a repository meanwhile.

    Raises:
        Conflict: another call does this already.
    """
    if not repository.filling.acquire(blocking=False):
        raise Conflict(f"a space of repository {repository.name!r} is being filled or dropped: wait until that ends")
    try:
        yield
    finally:
        repository.filling.release()


def add_space(
    catalog: RepositoryCatalog, repository: Repository, spec: SpaceSpec, *, templates: tuple[str, ...] = ()
) -> Space:
    """Returns the space of this name and model; adds it without vectors if it does not exist.

    Raises:
        InvalidRequest: the name or a template is not valid, or no model is named.
        Conflict: the model cannot be loaded, or the space has another model or other templates; nothing was changed.
    """
    check_space_name(spec.name)
    wrappers.check_templates(templates)
    known = repository.record.spaces.get(spec.name)
    if known is None and not spec.model:
        raise InvalidRequest(f"model: name the model of the new space {spec.name!r}")
    embedder = catalog.models.get(spec.model or (known.source if known else ""))
    if known is None:
        space = spaces.create_space(spec, embedder, templates=templates, filling=True)
        with repository.writing:  # a space of the record is also in the store
            repository.rewrite(lambda record: record.with_space(space))
            repository.store.add_space(space.name, space.dimension)
        return space
    if embedder.digest != known.digest or (templates and templates != known.templates):
        other = "templates" if embedder.digest == known.digest else f"vectors, by {known.model}"
        raise Conflict(f"repository {repository.name!r} has a space {spec.name!r} with other {other}: use another name")
    return known


def check_switch(repository: Repository, names: Sequence[str], *, force: bool) -> None:
    """Checks that a repository can switch to these spaces.

    Raises:
        InvalidRequest: no space is named, or one is named twice.
        NotFound: there is no such space.
        Conflict: not forced, and images lack a vector or a language would have no space.
    """
    record = repository.record
    if not names or len(set(names)) < len(names):
        raise InvalidRequest("spaces: name at least one space, each once")
    for name in names:
        _require(repository, record, name)
    if force:
        return
    for name in names:
        count = repository.store.count(lacks_vector(name))
        if count:
            raise Conflict(
                f"{count} images have no vector in space {name!r} yet, searches would not find them: complete it with: "
                f"xcomp repo space add {repository.name} {name}, or switch with --force"
            )
    lost = record.languages() - record.with_active(tuple(names)).languages()
    if lost:
        raise Conflict(
            f"no space would understand {', '.join(sorted(lost))}: "
            f"name another one beside {', '.join(names)}, or switch with --force"
        )


def switch_spaces(repository: Repository, names: Sequence[str]) -> None:
    """Makes these the spaces that answer, in one step.

    Raises:
        NotFound: a space was dropped since the check.
    """

    def activate(record: RepositoryConfig) -> RepositoryConfig:
        for name in names:
            _require(repository, record, name)
        return record.with_active(tuple(names))

    repository.rewrite(activate)


def drop_space(repository: Repository, name: str) -> int:
    """Removes a space with its vectors; returns how many images had one.

    Raises:
        NotFound: there is no such space.
        Conflict: it answers, or vectors are being written.
    """

    def remove(record: RepositoryConfig) -> RepositoryConfig:
        _require(repository, record, name)
        if name in record.active:
            raise Conflict(
                f"space {name!r} of repository {repository.name!r} answers searches: switch to others first with: "
                f"xcomp repo space switch {repository.name} SPACE"
            )
        return record.without(name)

    remove(repository.record)
    with lock_filling(repository):
        if not repository.ingesting.acquire(blocking=False):
            raise Conflict(f"repository {repository.name!r} is being indexed: wait until it ends, or stop it")
        try:
            count = repository.store.count(And((IMAGES, InSpace(name))))
            with repository.writing:
                repository.rewrite(remove)  # first: after a crash, opening the repository drops the vectors
                repository.store.drop_space(name)
        finally:
            repository.ingesting.release()
    return count


def _require(repository: Repository, record: RepositoryConfig, name: str) -> None:
    if name not in record.spaces:
        known = ", ".join(record.spaces)
        raise NotFound(f"there is no space {name!r} in repository {repository.name!r}: it has {known}")
