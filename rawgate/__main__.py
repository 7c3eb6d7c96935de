"""`python -m rawgate`: the same as the `rawgate` command."""

import sys

from rawgate.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
