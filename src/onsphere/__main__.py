"""`python -m onsphere` is the command `onsphere`."""

import sys

from onsphere.cli import main

if __name__ == "__main__":
    sys.exit(main())
