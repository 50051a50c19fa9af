"""``python -m radplan.cli``."""

import sys

from . import main

sys.exit(main())
