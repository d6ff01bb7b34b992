"""`python -m qmrunner`: the same program as the console script."""

from qmrunner.cli.main import main

if __name__ == "__main__":
    main()
