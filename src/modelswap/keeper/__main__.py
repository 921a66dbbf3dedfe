"""The keeper's way in: `python -I -S …/keeper/__main__.py STATE_DIRECTORY [GRACE]`.

Isolated mode leaves neither this folder nor site-packages on the path, so the parent folder is
appended (behind the standard library: `modelswap.http` must not shadow `http`). It imports nothing
else of modelswap.
"""

import sys

if __name__ == "__main__":
    sys.path.append(__file__.rsplit("/", 2)[0])
    supervisor = __import__("keeper.supervisor", fromlist=["main"])
    sys.exit(supervisor.main(sys.argv[1:]))
