"""`python -m stormda` is `stormda`."""

from stormda.cli.main import main

if __name__ == "__main__":
    main()
