"""What modelswap costs, beside nginx and a direct connection, in one run.

`python -m bench` prints one table. Law: CPU time of whole processes is the first
figure, because it does not depend on how fast the generator is or what else the
machine does; the sides are measured in turns, and the median of the rounds is
shown. Refuses to remember: no figure comes from another run.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # support lives there
