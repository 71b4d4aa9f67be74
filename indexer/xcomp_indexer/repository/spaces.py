"""The spaces of a repository, as data, and the record of them that is kept beside the vectors.

A space is one embedding model with its named vector. It is in one of three states: `active`, it answers searches;
`filling`, images that were there before it still lack its vector; `standby`, it is complete and does not answer. New
images get the vectors of all three, so that a space on standby can answer again at any moment. Which spaces answer, and
in which order they are tried, is one entry of the record: a switch rewrites that entry and nothing else.

The record in the store's meta, where everything from `source` on may be absent in repositories of older versions:

    profile  the name or spelling that the repository was made with; it goes on naming the composer's models
    models   by space: model (resolved id), digest, dimension, image_size, languages, source (as `embed.load` takes
             it), templates, filling (1 while images lack the vector)
    active   names of the spaces that answer; absent: those of the profile
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from xcomp_indexer.embed.base import Embedder
from xcomp_indexer.repository.profiles import SpaceSpec, spaces_of
from xcomp_indexer.store import Meta
from xcomp_protos.errors import InvalidRequest

State = Literal["active", "filling", "standby"]
_MAX = 65536  # of dimensions, the engines' own limit, and of pixels


@dataclass(frozen=True)
class Space:
    """One embedding model with its named vector."""

    name: str
    source: str  # the model as it was asked for, as `embed.load` takes it
    model: str  # its resolved id
    digest: str  # of its weights and whatever else shapes a vector
    dimension: int
    image_size: int  # pixels that its preprocessing reads
    languages: tuple[str, ...]
    templates: tuple[str, ...] = ()  # what a text is put into before it is embedded, at `{}`
    filling: bool = False

    @property
    def spec(self) -> SpaceSpec:
        """What a profile would say of it."""
        return SpaceSpec(self.name, self.source)


@dataclass(frozen=True)
class RepositoryConfig:
    """What a repository is made of."""

    profile: str
    spaces: Mapping[str, Space]  # all of them, by name
    active: tuple[str, ...]  # those that answer, in the order in which they are tried; at least one

    def state(self, name: str) -> State:
        """Returns what a space is for at the moment."""
        if name in self.active:
            return "active"
        return "filling" if self.spaces[name].filling else "standby"

    def with_space(self, space: Space) -> "RepositoryConfig":
        """Returns a record that holds this space as well, or in place of the one of its name."""
        return replace(self, spaces={**self.spaces, space.name: space})

    def filled(self, name: str) -> "RepositoryConfig":
        """Returns a record in which a space is complete."""
        return self.with_space(replace(self.spaces[name], filling=False)) if name in self.spaces else self

    def without(self, name: str) -> "RepositoryConfig":
        """Returns a record without a space that does not answer."""
        return replace(self, spaces={key: space for key, space in self.spaces.items() if key != name})

    def answering(self, names: tuple[str, ...]) -> "RepositoryConfig":
        """Returns a record in which these spaces answer and no others."""
        return replace(self, active=names)

    def languages(self) -> frozenset[str]:
        """Returns the languages that the answering spaces understand."""
        return frozenset(language for name in self.active for language in self.spaces[name].languages)

    def specs(self) -> tuple[SpaceSpec, ...]:
        """Returns what a profile would say that has the answering spaces."""
        return tuple(self.spaces[name].spec for name in self.active)

    def write(self) -> dict[str, object]:
        """Returns the record as JSON values, for the store's meta or for an export."""
        return {
            "profile": self.profile,
            "models": {name: _written(space) for name, space in self.spaces.items()},
            "active": list(self.active),
        }


def of_profile(profile: str, embedders: Mapping[str, Embedder]) -> RepositoryConfig:
    """Makes the record of a new repository; `embedders` are those of the profile's spaces, by name."""
    specs = spaces_of(profile)
    spaces = {spec.name: of_embedder(spec, embedders[spec.name]) for spec in specs}
    return RepositoryConfig(profile, spaces, tuple(spaces))


def of_embedder(
    spec: SpaceSpec, embedder: Embedder, *, templates: tuple[str, ...] = (), filling: bool = False
) -> Space:
    """Makes a space of a model that was loaded."""
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


def read(values: Meta) -> RepositoryConfig:
    """Reads what `Record.write` wrote, in this version or an older one.

    Raises:
        ValueError: that is no record that this version understands.
    """
    try:
        profile, models = values["profile"], values["models"]
        if not isinstance(profile, str) or not isinstance(models, Mapping):
            raise TypeError("profile and models are no text and no table")
        specs = spaces_of(profile)
        sources = {spec.name: spec.model for spec in specs}
        spaces = {str(name): _read(str(name), model, sources) for name, model in models.items()}
        active = _texts(values.get("active", [spec.name for spec in specs]))
    except (KeyError, TypeError, InvalidRequest) as error:
        raise ValueError(f"no record of a repository's models: {error}") from None
    if not active or not spaces.keys() >= set(active):
        raise ValueError("the record names spaces that it does not describe")
    return RepositoryConfig(profile, spaces, active)


def _read(name: str, values: Mapping[str, object], sources: Mapping[str, str]) -> Space:
    numbers = [values["dimension"], values["image_size"]]
    if not all(isinstance(number, int) and 0 < number <= _MAX for number in numbers):
        raise TypeError(f"space {name!r} has a dimension or an image_size that cannot be")
    return Space(
        name=name,
        source=_text(values["source"] if "source" in values else sources[name]),
        model=_text(values["model"]),
        digest=_text(values["digest"]),
        dimension=int(str(numbers[0])),
        image_size=int(str(numbers[1])),
        languages=_texts(values["languages"]),
        templates=_texts(values.get("templates", [])),
        filling=bool(values.get("filling", 0)),
    )


def _written(space: Space) -> dict[str, object]:
    return {
        "model": space.model,
        "digest": space.digest,
        "dimension": space.dimension,
        "image_size": space.image_size,
        "languages": list(space.languages),
        "source": space.source,
        "templates": list(space.templates),
        "filling": int(space.filling),
    }


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return tuple(map(_text, value))
