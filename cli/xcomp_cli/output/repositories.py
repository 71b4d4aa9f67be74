"""Repositories and their spaces as lines."""

from xcomp_cli.output import console
from xcomp_protos import indexer_pb2 as pb


def line(one: pb.Repository) -> str:
    """Returns a repository in a line; for one that cannot be opened, the reason."""
    if one.problem:
        return f"{console.strong(console.printable(one.name))}: cannot be opened: {console.printable(one.problem)}"
    size = f", {one.size_bytes / 1e6:.1f} MB" if one.size_bytes else ""
    name = console.strong(console.printable(one.name))
    failed = f", {sum(one.failures.values())} failed ({failures(one)})" if one.failures else ""
    return (
        f"{name}: {console.format_count(one.images, 'image')}, profile {console.printable(one.profile)}{size}{failed}"
    )


def space_line(space: pb.Space) -> str:
    """Returns a space in a line."""
    said = f", queries as {' | '.join(map(console.printable, space.templates))}" if space.templates else ""
    return (
        f"  space {space.name}, {space.state}: {console.printable(space.model)}, {space.dimension} dimensions, "
        f"{console.format_count(space.images, 'image')}, understands {', '.join(space.languages)}{said}"
    )


def failures(one: pb.Repository) -> str:
    """Returns the number of failed files by reason, the most frequent first."""
    counts = sorted(one.failures.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{count} {console.printable(reason)}" for reason, count in counts)
