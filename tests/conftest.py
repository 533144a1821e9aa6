"""What holds for all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# the same cases each time, so that what lands was not luck; others: --hypothesis-profile=default
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

# a runner started in the background may have it ignored, and what the tests start inherits that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
