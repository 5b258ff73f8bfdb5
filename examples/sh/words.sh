#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A worker for Protocol=exec: counts words. The payload is stdin, what it prints is the result, and the exit status says how it went;
# stderr goes to the journal, and its end into the job's error.

set -eu

case "${FLOWD_METHOD:-count}" in
count)
        wc -w | tr -d ' ' ;;
*)
        echo "words.sh: no such method: $FLOWD_METHOD" >&2
        exit 1 ;;
esac
