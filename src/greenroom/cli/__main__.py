"""`python -m greenroom.cli` is `greenroom`."""

from greenroom.cli import main

raise SystemExit(main())
