# SPDX-License-Identifier: GPL-2.0-only
"""The management controller of a node: OpenIPMI's simulator on its own address.

The cluster fences with the unmodified fence_ipmilan; the simulator calls
`lab _bmc NODE get power` and `lab _bmc NODE set power 0|1` in the rig.
"""

import os
import subprocess
import time

from .base import CLEAN_ENV, run, wait_for, write
from .node import Node
from .rig import BRIDGE, INSIDE, SELF

USER, PASSWORD = "admin", "secret"

LAN = """name "n{number}"
set_working_mc 0x20
  startlan 1
    addr {address} 623
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa12345678900000{number}
  endlan
  chassis_control "{control}"
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""
EMULATION = """mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
"""


def address(number):
    return f"10.77.0.20{number}"


def start(lab, number):
    """Starts the BMC of node `number`; only inside the rig."""
    folder = f"{INSIDE}/bmc-n{number}"
    os.makedirs(f"{folder}/state")
    control = f"{folder}/power"
    write(control, "#!/bin/sh\n"
          f'exec env LAB_INSIDE=1 LAB_NAME={lab.name} {SELF} _bmc n{number} "$@"\n', 0o755)
    write(f"{folder}/lan.conf", LAN.format(number=number, address=address(number),
                                           control=control, user=USER, password=PASSWORD))
    write(f"{folder}/sim.emu", EMULATION)
    run(["ip", "addr", "add", f"{address(number)}/24", "dev", BRIDGE])
    with open(f"{INSIDE}/logs/ipmi-n{number}", "ab") as log:
        subprocess.Popen(
            ["ipmi_sim", "-n", "-c", f"{folder}/lan.conf", "-f", f"{folder}/sim.emu",
             "-s", f"{folder}/state"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, env=CLEAN_ENV).returncode = 0


def wait_answer(number):
    query = ["ipmitool", "-I", "lanplus", "-C", "3", "-H", address(number), "-U", USER,
             "-P", PASSWORD, "-N", "1", "-R", "2", "chassis", "power", "status"]
    wait_for(f"the BMC of n{number} answers at {address(number)}",
             lambda: run(query, check=False, timeout=30).returncode == 0, 60)


def control(lab, name, words):
    """One call of the simulator."""
    node = Node(lab, name)
    log(f"{name} {' '.join(words)}: was {node.power()}")
    if words[:2] == ["get", "power"]:
        print(f"power:{0 if node.power() == 'off' else 1}")
        return 0
    if words[:2] != ["set", "power"] or len(words) != 3:
        return 1
    with node.power_lock():
        if words[2] == "0":
            node.power_off()
        else:
            node.power_on()
    log(f"{name} {' '.join(words)}: is {node.power()}")
    return 0


def log(text):
    with open(f"{INSIDE}/logs/bmc.log", "a", encoding="utf-8") as f:
        print(f"{time.time():.3f} {text}", file=f)
