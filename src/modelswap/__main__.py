"""`python -m modelswap`: the same as the console script."""

from __future__ import annotations

from modelswap.cli import main

if __name__ == "__main__":
    main()
