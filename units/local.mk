# SPDX-License-Identifier: LGPL-2.1-or-later
# units: what systemd, sysusers, tmpfiles and the journal read.

systemdsystemunit_DATA = %D%/flowd.service
dist_systemdsystemunit_DATA = %D%/flowd.socket %D%/flowd-jobs.socket %D%/flowd-mcp.socket
systemduserunit_DATA = %D%/user/flowd.service
dist_systemduserunit_DATA = %D%/user/flowd.socket %D%/user/flowd-jobs.socket %D%/user/flowd-mcp.socket
dist_catalog_DATA = %D%/flowd.catalog

EXTRA_DIST += \
	%D%/flowd.service.in %D%/user/flowd.service.in \
	%D%/flowd.sysusers %D%/flowd.tmpfiles
CLEANFILES += %D%/flowd.service %D%/user/flowd.service

%D%/%: %D%/%.in Makefile
	$(SUBST_RECIPE)
%D%/user/%: %D%/user/%.in Makefile
	$(SUBST_RECIPE)

# sysusers.d and tmpfiles.d want other names than the source tree's.
install-data-local: install-units-local
install-units-local:
	$(MKDIR_P) '$(DESTDIR)$(sysusersdir)' '$(DESTDIR)$(tmpfilesdir)'
	$(INSTALL_DATA) $(srcdir)/%D%/flowd.sysusers '$(DESTDIR)$(sysusersdir)/flowd.conf'
	$(INSTALL_DATA) $(srcdir)/%D%/flowd.tmpfiles '$(DESTDIR)$(tmpfilesdir)/flowd.conf'
uninstall-local: uninstall-units-local
uninstall-units-local:
	rm -f '$(DESTDIR)$(sysusersdir)/flowd.conf' '$(DESTDIR)$(tmpfilesdir)/flowd.conf'
.PHONY: install-units-local uninstall-units-local

dropindocdir = $(docdir)/drop-ins
dist_dropindoc_DATA = \
	%D%/drop-ins/README.md \
	%D%/drop-ins/container-workers.conf \
	%D%/drop-ins/device-workers.conf \
	%D%/drop-ins/home-workers.conf \
	%D%/drop-ins/jit-workers.conf \
	%D%/drop-ins/network-workers.conf \
	%D%/drop-ins/systemd-254.conf
