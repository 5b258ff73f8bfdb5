#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The units are what systemd takes without a warning, alone and with each drop-in that we ship, and the service stays below
# the exposure that we promise.
set -eu
: "${top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}" "${top_builddir:=$PWD}"
THRESHOLD=20
command -v systemd-analyze >/dev/null || { echo "1..0 # SKIP systemd-analyze is not installed"; exit 77; }

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export XDG_RUNTIME_DIR=$tmp/run
mkdir -p "$tmp/system" "$tmp/user" "$tmp/run" "$tmp/bin"

# verify wants the programs to be there: they are, in a folder that stands for bindir.
for program in flowd flowctl; do
        cp /bin/true "$tmp/bin/$program"
done
# Every "ExecX=/some/where/flowd" becomes "ExecX=$tmp/bin/flowd".
stage() { sed -E "s|^(Exec[A-Za-z]+=[-+!@:]*)/[^ ]*/(flow[a-z]+)|\1$tmp/bin/\2|" "$1" >"$2"; }
for kind in system user; do
        from=units
        [ $kind = system ] || from=units/user
        for unit in flowd.service flowd.socket flowd-jobs.socket flowd-mcp.socket; do
                for tree in "$top_builddir" "$top_srcdir"; do
                        if [ -e "$tree/$from/$unit" ]; then
                                stage "$tree/$from/$unit" "$tmp/$kind/$unit"
                                break
                        fi
                done
        done
done

n=0 failed=0
check() {
        n=$((n + 1))
        if [ -z "$2" ]; then
                echo "ok $n - $1"
        else
                echo "not ok $n - $1"
                printf '%s\n' "$2" | head -n 30 | sed 's/^/#   /'
                failed=1
        fi
}
verify() { # MANAGER DIR UNIT
        local out status=0
        out=$(SYSTEMD_UNIT_PATH="$2:" SYSTEMD_LOG_LEVEL=info systemd-analyze "--$1" --man=no --recursive-errors=no verify "$2/$3" 2>&1) ||
                status=$?
        # What other units of this machine have to be told about is not ours.
        out=$(printf '%s\n' "$out" | grep -E "flowd|$tmp" || true)
        [ $status = 0 ] || [ -n "$out" ] || out="systemd-analyze verify exits with $status"
        printf '%s' "$out"
}

for unit in "$top_srcdir"/examples/systemd/*; do
        cp "$unit" "$tmp/system/"
        check "examples/systemd/${unit##*/}" "$(verify system "$tmp/system" "${unit##*/}")"
done

for kind in system user; do
        for unit in flowd.service flowd.socket flowd-jobs.socket flowd-mcp.socket; do
                if [ ! -e "$tmp/$kind/$unit" ]; then
                        check "$kind/$unit" "it is not there"
                        continue
                fi
                check "$kind/$unit: verify" "$(verify $kind "$tmp/$kind" $unit)"
                left=$(grep -nE '@[a-z]+dir@|\$\{prefix\}|\$\{exec_prefix\}' "$tmp/$kind/$unit" || true)
                check "$kind/$unit: paths are substituted" "$left"
        done
done

for conf in "$top_srcdir"/units/drop-ins/*.conf; do
        case $conf in
        # For later versions than the oldest that we support: the others say so themselves.
        *systemd-*.conf) continue ;;
        esac
        rm -rf "$tmp/with"
        mkdir -p "$tmp/with/flowd.service.d"
        cp "$tmp/system"/* "$tmp/with/"
        cp "$conf" "$tmp/with/flowd.service.d/"
        check "drop-in ${conf##*/}: verify" "$(verify system "$tmp/with" flowd.service)"
done

status=0
out=$(systemd-analyze security --offline=true --threshold=$THRESHOLD "$tmp/system/flowd.service" 2>&1) || status=$?
[ $status = 0 ] && out= || out=$(printf '%s\n' "$out" | tail -n 3)
check "flowd.service: exposure of at most $THRESHOLD" "$out"
echo "1..$n"
exit $failed
