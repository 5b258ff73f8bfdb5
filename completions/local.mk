# SPDX-License-Identifier: LGPL-2.1-or-later
# completions: what the shells offer; a lint test holds them against --help.

dist_bashcompletion_DATA = \
	%D%/bash/flowctl \
	%D%/bash/flowd
dist_zshcompletion_DATA = \
	%D%/zsh/_flowctl \
	%D%/zsh/_flowd
