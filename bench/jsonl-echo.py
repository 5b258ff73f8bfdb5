#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The jsonl worker that somebody would write by hand in Python: gives each payload back."""
import json
import sys

for line in sys.stdin:
    job = json.loads(line)
    if "job" in job:
        print(json.dumps({"job": job["job"], "result": job["payload"]}), flush=True)
