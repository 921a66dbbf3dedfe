"""Another program that holds memory: `python -I -S hog.py MB` says `held`, and holds it until its input ends."""

from __future__ import annotations

import os
import sys

held = bytearray(os.urandom(1 << 20)) * int(sys.argv[1])
os.write(1, b"held\n")
sys.stdin.buffer.read()
