#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A worker for Protocol=jsonl: turns texts around. A shell has no JSON, so jq does both ends of it: the first jq prints two lines for each
# job, its id and its text, each still a JSON string, so that no payload can break the conversation; the second one writes the answer.

set -eu

jq --unbuffered --raw-input --compact-output 'fromjson | select(.job) | .job, (.payload | tostring)' |
while read -r job && read -r text; do
        printf '%s' "$text" | jq --compact-output --argjson job "$job" '{job: $job, result: (explode | reverse | implode)}'
done
