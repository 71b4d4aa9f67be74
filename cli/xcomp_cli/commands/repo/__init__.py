"""`xcomp repo`: the commands of a repository, in the order of its help."""

from xcomp_cli.commands.repo.basics import repo
from xcomp_cli.commands.repo.duplicates import duplicates
from xcomp_cli.commands.repo.maintenance import optimize, snapshot
from xcomp_cli.commands.repo.space import space
from xcomp_cli.commands.repo.transfer import export, import_

__all__ = ["repo"]

repo.command()(export)
repo.command("import")(import_)
repo.command()(duplicates)
repo.command()(optimize)
repo.command()(snapshot)
repo.add_typer(space, name="space")
