"""Measure what modelswap costs, beside nginx and a direct connection, in one run.

`python -m bench` prints tables.
Guarantees: CPU time of whole processes is the first figure, because it does not depend
on the speed of the generator or on other work of the machine. The sides are measured in
turns, and the median of the rounds is shown.
Does not: use figures of another run.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # support lives there
