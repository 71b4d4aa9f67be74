"""What is wrong with servers and repositories by what they say of themselves, and how to mend it.

It starts nothing and changes nothing; `machine.py` looks at the machine instead.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from xcomp_cli.diagnostics.machine import Finding
from xcomp_cli.output import console
from xcomp_cli.output.repositories import failures

if TYPE_CHECKING:
    from xcomp_protos import composer_pb2 as cpb
    from xcomp_protos import indexer_pb2 as pb


def indexer(*, healthy: bool, log: str) -> Iterator[Finding]:
    """An indexer that answers, yet does not serve; `log` says where its log is, if that is known."""
    if not healthy:
        way = f"ask again in a moment; its log says which{log}"
        yield Finding("indexer", f"NOT_SERVING: it loads models, waits for its store or is about to stop: {way}", True)


def composer(described: "cpb.DescribeComposerResponse") -> Iterator[Finding]:
    """A composer whose indexer does not serve it."""
    if described.indexer_status != "SERVING":
        way = "look at the indexer, and at the composer's --indexer and --indexer-token-file"
        fact = f"{described.indexer_status} for the composer, at {described.indexer}: {way}"
        yield Finding("indexer of the composer", fact, fault=True)


def repositories(described: "pb.DescribeResponse", *, local: bool) -> Iterator[Finding]:
    """Whatever is wrong with any repository; models are looked for where the indexer is of this machine."""
    for one in described.repositories:
        name = f"repository {one.name}"
        if one.problem:
            yield Finding(name, one.problem, fault=True)
            continue
        facts = [*_files(one), *_spaces(one), *(_models(one, described.models_loaded) if local else ())]
        yield from (Finding(name, fact, fault=True) for fact in facts)


def _files(one: "pb.Repository") -> Iterator[str]:
    if one.failures:
        way = f"mend them, then: xcomp index --retry-failed FOLDER{_option(one)}"
        yield f"{console.counted(sum(one.failures.values()), 'file')} failed ({failures(one)}): {way}"
    kept = one.last_ingest.fields["removable"].number_value if "removable" in one.last_ingest.fields else 0
    if kept:
        way = f"bring their folder back, or let them go with: xcomp index --prune FOLDER{_option(one)}"
        yield f"the last run missed the files of {console.counted(round(kept), 'image')} and removed none: {way}"


def _spaces(one: "pb.Repository") -> Iterator[str]:
    for space in one.spaces:
        lacking = one.images - space.images
        if space.state == "standby":
            way = f"xcomp repo space switch {one.name} {space.name}, or xcomp repo space drop {one.name} {space.name}"
            yield f"space {space.name} is complete and does not answer: {way}"
        elif space.state == "filling" or lacking > 0:
            way = f"xcomp repo space add {one.name} {space.name}, which goes on with it"
            yield f"space {space.name} lacks {lacking} of {console.counted(one.images, 'image')}: {way}"


def _models(one: "pb.Repository", loaded: Sequence[str]) -> Iterator[str]:
    from xcomp_cli.model_catalog import (
        list_models,
    )

    for space in one.spaces:
        for model in list_models():
            is_its = space.source == model.name or space.source.startswith(f"{model.name}:")
            if is_its and space.model not in loaded and (lack := model.lack()):
                yield f"model {space.source} of space {space.name} is {lack}"


def _option(one: "pb.Repository") -> str:
    return "" if one.name == "default" else f" --repo {console.printable(one.name)}"
