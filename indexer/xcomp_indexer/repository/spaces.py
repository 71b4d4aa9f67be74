"""The spaces of a repository, and the record of them that is kept beside the vectors.

A space is one embedding model with its named vector. It is in one of three states: `active`, it answers searches;
`filling`, images that were there before it still lack its vector; `standby`, it is complete and does not answer. New
images get the vectors of all spaces, so that a space on standby can answer again at any moment. Which spaces answer,
and in which order they are tried, is one entry of the record; a switch rewrites only that entry.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import msgspec

from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.repository.profiles import SpaceSpec, spaces_of
from xcomp_indexer.store import Meta
from xcomp_protos.errors import InvalidRequest

State = Literal["active", "filling", "standby"]
_Size = Annotated[int, msgspec.Meta(gt=0, le=65536)]  # the engines' own limit of dimensions; pixels have the same


@dataclass(frozen=True)
class Space:
    """One embedding model with its named vector."""

    name: str
    source: str  # the model as the user named it, as `embed.load` takes it
    model: str  # its resolved id
    digest: str  # of its weights and whatever else shapes a vector
    dimension: int
    image_size: int  # pixels that its preprocessing reads
    languages: tuple[str, ...]
    templates: tuple[str, ...] = ()  # texts in which `{}` is replaced with a query before it is embedded
    filling: bool = False

    @property
    def spec(self) -> SpaceSpec:
        """The space as a profile names it."""
        return SpaceSpec(self.name, self.source)


@dataclass(frozen=True)
class RepositoryConfig:
    """The profile and the spaces of a repository."""

    profile: str
    spaces: Mapping[str, Space]  # all of them, by name
    active: tuple[str, ...]  # those that answer, in the order in which they are tried; at least one

    def state(self, name: str) -> State:
        """Return the state of a space."""
        if name in self.active:
            return "active"
        return "filling" if self.spaces[name].filling else "standby"

    def with_space(self, space: Space) -> "RepositoryConfig":
        """Return a copy that has this space, in place of another one of its name."""
        return replace(self, spaces={**self.spaces, space.name: space})

    def with_complete(self, name: str) -> "RepositoryConfig":
        """Return a copy in which a space, if it is there, is complete."""
        return self.with_space(replace(self.spaces[name], filling=False)) if name in self.spaces else self

    def without(self, name: str) -> "RepositoryConfig":
        """Return a copy without a space that does not answer."""
        return replace(self, spaces={key: space for key, space in self.spaces.items() if key != name})

    def with_active(self, names: tuple[str, ...]) -> "RepositoryConfig":
        """Return a copy in which these spaces answer and no others."""
        return replace(self, active=names)

    def languages(self) -> frozenset[str]:
        """Return the languages that the active spaces understand."""
        return frozenset(language for name in self.active for language in self.spaces[name].languages)

    def specs(self) -> tuple[SpaceSpec, ...]:
        """Return the active spaces as a profile names them."""
        return tuple(self.spaces[name].spec for name in self.active)

    def write(self) -> dict[str, object]:
        """Return the record as JSON values, for the store's meta or for an export."""
        models = {
            name: _SpaceRecord(
                space.model,
                space.digest,
                space.dimension,
                space.image_size,
                space.languages,
                space.source,
                space.templates,
                int(space.filling),
            )
            for name, space in self.spaces.items()
        }
        record: dict[str, object] = msgspec.to_builtins(_ConfigRecord(self.profile, models, self.active))
        return record


class _SpaceRecord(msgspec.Struct):
    model: str
    digest: str
    dimension: _Size
    image_size: _Size
    languages: tuple[str, ...]
    source: str | None = None  # this and what follows may be absent in repositories of older versions
    templates: tuple[str, ...] = ()
    filling: int = 0  # 1 while images lack the vector


class _ConfigRecord(msgspec.Struct):
    profile: str  # with which the repository was made; it also names the composer's models
    models: dict[str, _SpaceRecord]
    active: tuple[str, ...] | None = None  # absent: the spaces of the profile


def create_config(profile: str, embedders: Mapping[str, Embedder]) -> RepositoryConfig:
    """Create the record of a new repository; `embedders` are those of the profile's spaces, by name."""
    spaces = {spec.name: create_space(spec, embedders[spec.name]) for spec in spaces_of(profile)}
    return RepositoryConfig(profile, spaces, tuple(spaces))


def create_space(
    spec: SpaceSpec, embedder: Embedder, *, templates: tuple[str, ...] = (), filling: bool = False
) -> Space:
    """Create a space of a model that was loaded."""
    return Space(
        name=spec.name,
        source=spec.model,
        model=embedder.name,
        digest=embedder.digest,
        dimension=embedder.dimension,
        image_size=embedder.image_size,
        languages=tuple(sorted(embedder.languages)),
        templates=templates,
        filling=filling,
    )


def parse_config(values: Meta) -> RepositoryConfig:
    """Parse what `RepositoryConfig.write` returned, in this version or an older one.

    Raises:
        ValueError: this version does not understand the record; the message names the field.
    """
    try:
        record = msgspec.convert(values, _ConfigRecord)
        specs = spaces_of(record.profile)
        sources = {spec.name: spec.model for spec in specs}
        spaces = {name: _parse_space(name, space, sources) for name, space in record.models.items()}
    except (msgspec.ValidationError, InvalidRequest) as error:
        raise ValueError(f"the record of its models cannot be read: {error}") from None
    active = tuple(spec.name for spec in specs) if record.active is None else record.active
    if not active or not spaces.keys() >= set(active):
        raise ValueError("the record of its models cannot be read: `$.active` names spaces that `$.models` lacks")
    return RepositoryConfig(record.profile, spaces, active)


def _parse_space(name: str, record: _SpaceRecord, sources: Mapping[str, str]) -> Space:
    source = record.source if record.source is not None else sources.get(name)
    if source is None:
        raise msgspec.ValidationError(f"Object missing required field `source` - at `$.models.{name}`")
    return Space(
        name,
        source,
        record.model,
        record.digest,
        record.dimension,
        record.image_size,
        record.languages,
        record.templates,
        bool(record.filling),
    )
