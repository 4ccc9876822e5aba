"""The peer's public calls, timed by themselves: `peer_calls.py archive|restore ROOT`. Runs in the peer's interpreter.

Prints JSON: seconds of the one call (the import, 0.1-0.9 s, is not counted: in the peer's favour) and its summary.
The peer is a black box: nothing is used or known of it but these two functions as its documentation has them.
"""

from __future__ import annotations

import json
import sys
import time

import scitex_session

CALLS = {"archive": scitex_session.archive_existing, "restore": scitex_session.restore_existing}

call = CALLS[sys.argv[1]]
start = time.perf_counter()
summary = call(sys.argv[2], dry_run=False)
print(json.dumps({"seconds": time.perf_counter() - start, "summary": summary}))
sys.exit(0 if summary["failed"] == 0 else 1)
