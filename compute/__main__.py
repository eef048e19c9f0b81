"""python -m compute: the same as nfold."""

import sys


def main() -> int:
    """The command line, told by sys.argv; its exit code. A Ctrl-C while it is being imported is one of its own."""
    try:
        from compute.cli import main as command_line
    except KeyboardInterrupt:
        print("nfold: interrupted", file=sys.stderr)
        return 130
    return command_line()


if __name__ == "__main__":  # a spawned worker imports this module too, under another name
    sys.exit(main())
