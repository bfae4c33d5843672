"""`python -m umr`: the command line, for launchers that start modules (torchrun)."""

from umr.cli import main

if __name__ == "__main__":
    main()
