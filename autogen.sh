#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes ./configure out of configure.ac; needs autoconf, automake, libtool and pkg-config.
set -eu
cd "$(dirname "$0")"
mkdir -p m4
exec autoreconf --force --install "$@"
