"""`python -m lorachk`."""

from lorachk.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
