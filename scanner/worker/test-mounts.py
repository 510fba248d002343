#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A zygote holds no file system of the machine: what is unmounted outside is unmounted.

Else the storage of a demoted node stays mounted in there, out of sight of mount and umount, while
another node mounts it and writes.
"""
import os
import subprocess
import time

import pytest

from chain import PATIENCE, Engine


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def storage(tmp_path):
    """A file system on a loop device that the kernel frees with the last mount of it."""
    image, mount = tmp_path / "image", tmp_path / "mount"
    mount.mkdir()
    with open(image, "wb") as f:
        f.truncate(4 << 20)
    run("mkfs.ext4", "-q", str(image))
    run("mount", "-o", "loop", str(image), str(mount))
    yield image, mount
    subprocess.run(["umount", str(mount)], check=False, capture_output=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")
@pytest.mark.parametrize("mode", ["root", "caps"])
def test_an_unmount_outside_ends_the_file_system(storage, mode):
    image, mount = storage
    engine = Engine(mode)
    try:
        assert engine.wait_state("ready")
        assert run("losetup", "-j", str(image))
        run("umount", str(mount))
        end = time.monotonic() + PATIENCE
        while run("losetup", "-j", str(image)):
            assert time.monotonic() < end, "the zygote still holds the file system"
            time.sleep(0.05)
        assert engine.status()["state"] == "ready"
    finally:
        engine.stop()
