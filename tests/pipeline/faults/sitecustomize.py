"""Python imports this first where its folder is on PYTHONPATH: a rank that fails at a place that a test has chosen.

MEDCRITICAL_TEST_FAULT is `RANK SIGNAL SECONDS WORDS MARKER`: when that rank first opens a file with WORDS in its path it
sends itself the signal, so many seconds later. It does so once: where MARKER is, which is written before, nothing happens.
"""

import os
import signal
import sys
import threading
import time
from typing import Any

_fault = os.environ.get("MEDCRITICAL_TEST_FAULT", "").split()

if _fault and os.environ.get("RANK") == _fault[0]:

    def _fail() -> None:
        time.sleep(float(_fault[2]))
        os.kill(os.getpid(), signal.Signals[_fault[1]])

    def _watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and _fault[3] in str(arguments[0]) and not os.path.exists(_fault[4]):
            with open(_fault[4], "w", encoding="utf-8") as marker:
                marker.write(str(time.time()))
            if float(_fault[2]):
                threading.Thread(target=_fail, daemon=True).start()
            else:
                _fail()

    sys.addaudithook(_watch)
