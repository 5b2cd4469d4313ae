"""`python -m appliance`, and the frozen binary's entry."""

import sys

from appliance.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
