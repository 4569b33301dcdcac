"""`python -m spectral` is the command line."""

import sys

from spectral_plasticity import main


if __name__ == "__main__":
    sys.argv[0] = "spectral"  # runs record their command
    sys.exit(main())
