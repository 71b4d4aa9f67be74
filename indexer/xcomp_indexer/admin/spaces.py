"""Changes the models of a repository while it serves: adds a space, lets other spaces answer, drops one.

Each change rewrites the record (`repository/spaces.py`) once; `backfill.py` fills a space. A change that would make a
search worse than it was is refused with the way out, unless it is forced.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from xcomp_indexer.admin.backfill import lacking
from xcomp_indexer.embed import wrappers as wording
from xcomp_indexer.repository import spaces
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.image_record import (
    IMAGES,
)
from xcomp_indexer.repository.profiles import SpaceSpec, check_space_name
from xcomp_indexer.repository.repository import Repository
from xcomp_indexer.repository.spaces import RepositoryConfig, Space
from xcomp_indexer.store import And, InSpace
from xcomp_protos.errors import Conflict, InvalidRequest, NotFound


@contextmanager
def alone(repository: Repository) -> Iterator[None]:
    """Keeps others from filling or dropping a space of a repository meanwhile.

    Raises:
        Conflict: somebody does so already.
    """
    if not repository.filling.acquire(blocking=False):
        raise Conflict(f"a space of repository {repository.name!r} is being filled or dropped: wait until that ends")
    try:
        yield
    finally:
        repository.filling.release()


def add_space(
    library: RepositoryCatalog, repository: Repository, spec: SpaceSpec, *, templates: tuple[str, ...] = ()
) -> Space:
    """Returns a space of this name and model, adding it, without vectors, where there is none.

    Raises:
        InvalidRequest: the name is none, a template is none, or no model is named.
        Conflict: the model cannot be loaded, or there is one of this name with another model or other templates;
            nothing was changed then.
    """
    check_space_name(spec.name)
    wording.check(templates)
    known = repository.record.spaces.get(spec.name)
    if known is None and not spec.model:
        raise InvalidRequest(f"model: name the one that space {spec.name!r} is to have")
    embedder = library.models.get(spec.model or (known.source if known else ""))
    if known is None:
        made = spaces.create_space(spec, embedder, templates=templates, filling=True)
        with repository.writing:  # whoever learns of it from the record finds it in the store
            repository.rewrite(lambda record: record.with_space(made))
            repository.store.add_space(made.name, made.dimension)
        return made
    if embedder.digest != known.digest or (templates and templates != known.templates):
        other = "templates" if embedder.digest == known.digest else f"vectors, by {known.model}"
        raise Conflict(f"repository {repository.name!r} has a space {spec.name!r} with other {other}: use another name")
    return known


def check_switch(repository: Repository, names: Sequence[str], *, force: bool) -> None:
    """Checks that these spaces can answer for a repository, and no others.

    Raises:
        InvalidRequest: none is named, or one twice.
        NotFound: there is no such space.
        Conflict: not forced, and images lack a vector or a language would be left without a space.
    """
    record = repository.record
    if not names or len(set(names)) < len(names):
        raise InvalidRequest("spaces: name each space that is to answer once, at least one")
    for name in names:
        _require(repository, record, name)
    if force:
        return
    for name in names:
        count = repository.store.count(lacking(name))
        if count:
            raise Conflict(
                f"{count} images have no vector in space {name!r} yet, searches would not find them: complete it with: "
                f"xcomp repo space add {repository.name} {name}, or switch with --force"
            )
    lost = record.languages() - record.with_active(tuple(names)).languages()
    if lost:
        raise Conflict(
            f"no space would be left that understands {', '.join(sorted(lost))}: "
            f"name one beside {', '.join(names)}, or switch with --force"
        )


def switch_spaces(repository: Repository, names: Sequence[str]) -> None:
    """Lets these spaces answer, and no others, in one step.

    Raises:
        NotFound: one was dropped since it was checked.
    """

    def answering(record: RepositoryConfig) -> RepositoryConfig:
        for name in names:
            _require(repository, record, name)
        return record.with_active(tuple(names))

    repository.rewrite(answering)


def drop_space(repository: Repository, name: str) -> int:
    """Removes a space with its vectors; returns how many images had one.

    Raises:
        NotFound: there is no such space.
        Conflict: it answers, or vectors are being written.
    """

    def left(record: RepositoryConfig) -> RepositoryConfig:
        _require(repository, record, name)
        if name in record.active:
            raise Conflict(
                f"space {name!r} of repository {repository.name!r} answers searches: switch to others first with: "
                f"xcomp repo space switch {repository.name} SPACE"
            )
        return record.without(name)

    left(repository.record)
    with alone(repository):
        if not repository.ingesting.acquire(blocking=False):
            raise Conflict(f"repository {repository.name!r} is being indexed: wait until that has ended, or stop it")
        try:
            count = repository.store.count(And((IMAGES, InSpace(name))))
            with repository.writing:
                repository.rewrite(left)  # first: opening completes what a crash cuts short
                repository.store.drop_space(name)
        finally:
            repository.ingesting.release()
    return count


def _require(repository: Repository, record: RepositoryConfig, name: str) -> None:
    if name not in record.spaces:
        held = ", ".join(record.spaces)
        raise NotFound(f"there is no space {name!r} in repository {repository.name!r}: it has {held}")
