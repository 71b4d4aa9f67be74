"""The entry point of `xcomp`; it also catches ^C while the command line is imported."""

import sys


def main() -> None:
    """The entry point of `xcomp`."""
    try:
        from xcomp_cli.main import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
