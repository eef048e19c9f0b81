"""python -m compute: the same as nfold."""

if __name__ == "__main__":  # a spawned worker imports this module too, under another name
    import sys

    from compute.cli.commands import main

    sys.exit(main())
