"""`python -m kompakt_client` is `kompakt`."""

import sys

from kompakt_client.cli import main

sys.exit(main())
