# SPDX-License-Identifier: GPL-2.0-only
"""A real two or three node Pacemaker cluster on one machine.

base       errors, bounded waits, running commands, progress lines
cgroup     the control groups of a lab: one per node
rig        the private namespaces that hold a whole lab, and their state
node       one node: its files, power and commands
bmc        the simulated management controller that fences a node
nodefiles  what a node's root holds before its first boot
cluster    questions to Pacemaker and its configuration
ssh        root logins between the nodes
mail       Postfix, Dovecot and the shared file system
postern    Postern in the nodes
memory     want of memory in one control group
faults     what `lab fault` does and undoes
status     what `lab status` prints
watch      samples, from outside, that nothing is served twice
load       the mail client          (program: mailload)
account    where every mail went    (program: account)
cli        the command line         (program: lab)
"""
