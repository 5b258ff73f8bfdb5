#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
# A worker for Protocol=jsonl: one job a line in, one answer a line out. This one counts the words of a text.
import collections, json, sys

for line in sys.stdin:
    job = json.loads(line)
    if "job" in job:  # else it is {"cancel": ID}
        words = collections.Counter(job["payload"].lower().split())
        print(json.dumps({"job": job["job"], "result": dict(words.most_common(10))}), flush=True)
