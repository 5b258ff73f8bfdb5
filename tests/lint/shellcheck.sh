#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every shell script is clean under shellcheck, and is executable.
set -eu
cd "${top_srcdir:-$(dirname "$0")/../..}"
command -v shellcheck >/dev/null || { echo "1..0 # SKIP shellcheck is not installed"; exit 77; }

scripts=()
while IFS= read -r file; do
        case $(head -c 64 "$file" | head -n 1 | tr -d '\0') in
        '#!'*/sh | '#!'*/sh\ * | '#!'*/bash | '#!'*/bash\ * | '#!'*'env bash') scripts+=("$file") ;;
        esac
done < <(find . \( -name .git -o -name build -o -name 'build-*' -o -name m4 -o -name autom4te.cache -o -name corpus -o \
        -type d -exec test -e '{}/config.status' \; \) -prune -o \
        -type f -size -256k ! -name configure ! -name 'configure~' ! -name '*.o' -print | sort)
for file in completions/bash/*; do
        [ ! -e "$file" ] || scripts+=("$file")
done

n=0 failed=0
for file in "${scripts[@]}"; do
        n=$((n + 1))
        extra=()
        case $file in
        completions/*) extra=(-s bash -e SC2207) ;; # COMPREPLY=($(compgen ...)) is how completions are written
        esac
        if out=$(shellcheck -x -e SC1091 "${extra[@]}" "$file" 2>&1); then
                echo "ok $n - $file"
        else
                echo "not ok $n - $file"
                printf '%s\n' "$out" | sed 's/^/#   /'
                failed=1
        fi
done
echo "1..$n"
exit $failed
