/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef LOADER_H
#define LOADER_H

/*
 * What the zygote gives up before it loads signatures: libclamav's loader parses files that came
 * over the network, and has been broken by them (CVE-2022-20792). The zygote is in its jail by
 * then, without a network and with the capabilities that forking workers takes. This filter takes
 * away the system calls by which a process like that gets further: other programs, other
 * processes, other mounts, other namespaces, and the kernel's larger surfaces. The workers inherit
 * it, below their own. It names what is forbidden, not what is allowed: the unit's
 * SystemCallFilter= does that, where systemd starts the engine.
 *
 * Sets no_new_privs. Returns 0, or -errno with a sentence.
 */
int loader_confine(char **error_r);

#endif
