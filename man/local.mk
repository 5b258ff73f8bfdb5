# SPDX-License-Identifier: LGPL-2.1-or-later

dist_man_MANS += \
	%D%/flow-protocol.7 \
	%D%/flow-sessions.7 \
	%D%/flowctl.1 \
	%D%/flowd.8 \
	%D%/flowd.conf.5 \
	%D%/flowd.pool.5 \
	%D%/flowd.worker.5 \
	%D%/libflow.3
