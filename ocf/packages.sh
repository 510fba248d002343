# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # used by ./dev
# Debian 12's names of everything that building and testing needs.
build_packages=(
    build-essential autoconf automake pkg-config libglib2.0-dev libclamav-dev libgmime-3.0-dev
    libsystemd-dev libqb-dev libxml2-dev pacemaker-dev libsqlite3-dev libconfuse-dev libjansson-dev
    libssl-dev libseccomp-dev libmilter-dev zlib1g-dev libmicrohttpd-dev libcurl4-openssl-dev
)
test_packages=(
    arc arj brotli bzip2 cpio dosfstools gcab genisoimage jlha-utils lrzip lzip lzop fp-utils-3.2.2
    mtools msitools ncompress nsis plzip python3-docx python3-odf python3-openpyxl python3-pikepdf
    python3-pil python3-reportlab python3-xlwt qemu-utils rpm squashfs-tools wimtools zpaq
    git libcmocka-dev clang clang-format clang-tidy cppcheck pmccabe shellcheck valgrind
    gpg gpg-agent man-db openssl xz-utils zstd lz4 zip p7zip-full python3 python3-pytest python3-pytest-xdist
    postfix swaks miltertest clamav clamav-testfiles
    pacemaker pacemaker-cli-utils corosync pcs crmsh resource-agents fence-agents dbus
    systemd systemd-container openipmi ipmitool libfreeipmi17 freeipmi-common kmod nftables
    iproute2 procps psmisc util-linux e2fsprogs libxml2-utils sqlite3 mandoc systemd-journal-remote
    clamav-daemon clamdscan clamav-milter rspamd python3-pyclamd
    openssh-server openssh-client dovecot-core dovecot-imapd
    debhelper dpkg-dev fakeroot lintian faketime
)
