"""The keeper's entry point: `python -I -S …/keeper/__main__.py STATE_DIRECTORY [GRACE]`.

Isolated mode leaves neither this folder nor site-packages on the path, so the folder that holds
`modelswap` is appended, behind the standard library. Of modelswap the keeper imports its own package
and `procfs`, nothing else.
"""

import sys

if __name__ == "__main__":
    sys.path.append(__file__.rsplit("/", 3)[0])
    supervisor = __import__("modelswap.keeper.supervisor", fromlist=["main"])
    sys.exit(supervisor.main(sys.argv[1:]))
