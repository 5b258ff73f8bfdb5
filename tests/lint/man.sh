#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# groff has nothing to say about the man pages, and each has the sections that a page needs.
set -eu
: "${top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}" "${top_builddir:=$PWD}"
for program in man groff; do
        command -v $program >/dev/null || { echo "1..0 # SKIP $program is not installed"; exit 77; }
done

n=0 failed=0
check() {
        n=$((n + 1))
        if [ -z "$2" ]; then
                echo "ok $n - $1"
        else
                echo "not ok $n - $1"
                printf '%s\n' "$2" | head -n 20 | sed 's/^/#   /'
                failed=1
        fi
}

shopt -s nullglob
declare -A seen=()
for page in "$top_builddir"/man/*.[1-8] "$top_srcdir"/man/*.[1-8]; do
        name=${page##*/}
        [ -z "${seen[$name]:-}" ] || continue
        seen[$name]=1
        check "$name: man --warnings" "$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings=w -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)"
        missing=
        if ! grep -q '^\.so ' "$page"; then
                for section in NAME 'SEE ALSO'; do
                        grep -qiE "^\.S[Hh] \"?$section\"?" "$page" || missing+="no section $section"$'\n'
                done
        fi
        ! grep -qE '@[a-z]+@' "$page" || missing+="a path was not substituted: $(grep -oE '@[a-z]+@' "$page" | head -n 1)"
        check "$name: sections" "$missing"
done
[ $n -gt 0 ] || check "man pages" "there are none in man/"
echo "1..$n"
exit $failed
