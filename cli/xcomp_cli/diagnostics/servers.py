"""Finds what is wrong with servers and repositories in their own answers, and says how to fix it.

Starts and changes nothing; `machine.py` checks the machine.
"""

from collections.abc import Iterator, Sequence

from xcomp_cli.diagnostics.machine import Finding, check_profile
from xcomp_cli.model_catalog import list_models
from xcomp_cli.output import console
from xcomp_cli.output.repositories import failures
from xcomp_protos import composer_pb2 as cpb
from xcomp_protos import indexer_pb2 as pb


def check_indexer(*, healthy: bool, log: str) -> Iterator[Finding]:
    """Reports an indexer that answers but does not serve; `log` says where its log is, if known."""
    if not healthy:
        way = f"ask again in a moment; its log says which{log}"
        yield Finding("indexer", f"NOT_SERVING: it loads models, waits for its store or is about to stop: {way}", True)


def check_default_profile(described: pb.DescribeResponse, *, local: bool) -> Iterator[Finding]:
    """Reports that the profile of new repositories cannot run, if the indexer is on this machine."""
    if local and described.default_profile:
        yield from (finding for finding in check_profile(described.default_profile) if finding.fault)


def check_composer(described: cpb.DescribeComposerResponse) -> Iterator[Finding]:
    """Reports a composer whose indexer does not serve."""
    if described.indexer_status != "SERVING":
        way = "look at the indexer, and at the composer's --indexer and --indexer-token-file"
        fact = f"{described.indexer_status} for the composer, at {described.indexer}: {way}"
        yield Finding("indexer of the composer", fact, fault=True)


def check_repositories(described: pb.DescribeResponse, *, local: bool) -> Iterator[Finding]:
    """Reports faults of all repositories; checks for their models if the indexer is on this machine."""
    for one in described.repositories:
        name = f"repository {one.name}"
        if one.problem:
            yield Finding(name, one.problem, fault=True)
            continue
        facts = [
            *_check_files(one),
            *_check_spaces(one),
            *(_check_models(one, described.models_loaded) if local else ()),
        ]
        yield from (Finding(name, fact, fault=True) for fact in facts)


def _check_files(one: pb.Repository) -> Iterator[str]:
    if one.failures:
        way = f"repair them, then: xcomp index --retry-failed FOLDER{_repo_option(one)}"
        yield f"{console.format_count(sum(one.failures.values()), 'file')} failed ({failures(one)}): {way}"
    kept = one.last_ingest.fields["removable"].number_value if "removable" in one.last_ingest.fields else 0
    if kept:
        way = f"restore their folder, or remove the images with: xcomp index --prune FOLDER{_repo_option(one)}"
        yield f"the last run missed the files of {console.format_count(round(kept), 'image')} and removed none: {way}"


def _check_spaces(one: pb.Repository) -> Iterator[str]:
    for space in one.spaces:
        lacking = one.images - space.images
        if space.state == "standby":
            way = f"xcomp repo space switch {one.name} {space.name}, or xcomp repo space drop {one.name} {space.name}"
            yield f"space {space.name} is complete and does not answer: {way}"
        elif space.state == "filling" or lacking > 0:
            way = f"xcomp repo space add {one.name} {space.name}, which continues it"
            yield f"space {space.name} lacks {lacking} of {console.format_count(one.images, 'image')}: {way}"


def _check_models(one: pb.Repository, loaded: Sequence[str]) -> Iterator[str]:

    for space in one.spaces:
        for model in list_models():
            is_its = space.source == model.name or space.source.startswith(f"{model.name}:")
            if is_its and space.model not in loaded and (lack := model.describe_lack()):
                yield f"model {space.source} of space {space.name} is {lack}"


def _repo_option(one: pb.Repository) -> str:
    return "" if one.name == "default" else f" --repo {console.printable(one.name)}"
