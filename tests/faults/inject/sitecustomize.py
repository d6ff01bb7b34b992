"""A wall clock that is wrong by CLOCK_SHIFT seconds, in every Python process of a machine; its other clocks run on.

Loaded by Python itself when this folder is on PYTHONPATH. Linux has one wall clock for all namespaces.
"""

import os
import time

SHIFT = float(os.environ.get("CLOCK_SHIFT", "0"))
if SHIFT:
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + SHIFT
    time.time_ns = lambda: right_ns() + int(SHIFT * 1e9)
