"""The keeper's entry point: `python -I -S …/keeper/__main__.py STATE_DIRECTORY [GRACE]`.

In isolated mode nothing of modelswap is on the path: its folder is appended behind the standard library.
"""

import sys

if __name__ == "__main__":
    sys.path.append(__file__.rsplit("/", 3)[0])
    supervisor = __import__("modelswap.keeper.supervisor", fromlist=["main"])
    sys.exit(supervisor.main(sys.argv[1:]))
