"""`xcomp status`: which servers run and what the repositories hold."""

from typing import TYPE_CHECKING

from xcomp_cli import display, options, repo

if TYPE_CHECKING:
    from xcomp_cli.launch import Service
    from xcomp_cli.state import State
    from xcomp_protos import indexer_pb2 as pb


def status(json: options.Json = False, indexer: options.Indexer = "") -> None:
    """Shows the servers and the repositories."""
    from xcomp_cli import connect
    from xcomp_cli.home import data_home
    from xcomp_cli.launch import COMPOSER, INDEXER
    from xcomp_cli.state import running

    with connect.indexer(indexer) as client:
        described = client.describe()
        address = client.address
    services = () if indexer else (INDEXER, COMPOSER)
    states = [(service, running(connect.places(service))) for service in services]
    if json:
        display.print_json(_as_json(described, address, states))
        return
    display.result(f"indexer    {display.printable(address)}, {_memory(described.memory_bytes)}")
    display.result(f"store      {display.printable(described.store)}")
    if not indexer:
        composer = states[-1][1]
        display.result(f"composer   {composer.address if composer else 'not running: it starts when it is needed'}")
        display.result(f"home       {display.printable(str(data_home()))}")
    display.result(
        f"models     {', '.join(described.models_loaded) or 'none in memory: they load when they are needed'}"
    )
    for one in described.repositories:
        display.result(f"repository {repo.line(one)}")
    if not described.repositories:
        display.note("no repository yet: xcomp index FOLDER makes one")


def _as_json(
    described: "pb.DescribeResponse", address: str, states: "list[tuple[Service, State | None]]"
) -> display.Json:
    return {
        "version": described.version,
        "build": described.build,
        "indexer": address,
        "store": described.store,
        "models_loaded": list(described.models_loaded),
        "memory_bytes": described.memory_bytes,
        "default_profile": described.default_profile,
        "servers": {
            service.name: {"pid": state.pid, "address": state.address} if state else None for service, state in states
        },
        "repositories": [repo.as_json(one) for one in described.repositories],
    }


def _memory(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB in memory"
