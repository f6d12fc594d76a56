"""`lorachk data` with all D rules, as a user runs it."""

from __future__ import annotations

import sys

from lorachk.cli import main

if __name__ == "__main__":
    options = ["--isolated", "--select", "D", "--format", "json", "--output", "/dev/null"]
    sys.exit(main(["data", sys.argv[1], *options]))
