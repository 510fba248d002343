# SPDX-License-Identifier: GPL-2.0-only
"""Mail that takes the scanner down: 451 with a strike that outlives the process, then quarantined.

Nothing in the scanner crashes on request: the workers are stopped, given the message, and killed."""
import os
import signal
import threading

import mails
from instance import wait_for, workers

SETTINGS = "workers = 2\n"


def status(postern):
    return postern.json("status")["posternd"]


def pool(postern):
    return status(postern)["pool"]


def stop_all(postern, idle):
    """All workers are there, IDLE of them without a scan, and none goes on."""
    wait_for(lambda: (pool(postern)["workers"], pool(postern)["idle"]) == (2, idle), "the workers")
    for pid in workers(postern):
        os.kill(pid, signal.SIGSTOP)


def kill_busy(postern):
    """Kills workers until one with a scan has died; the message is then with another, stopped
    one."""
    lost = pool(postern)["lost"]
    while pool(postern)["lost"] == lost:
        stop_all(postern, 1)
        pid = workers(postern)[0]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda gone=pid: gone not in workers(postern) and (
            pool(postern)["lost"] > lost or pool(postern)["workers"] == 2), "a worker's end")


def send_lethal(postern, mta, message):
    """The reply to a message over which two workers die."""
    replies = []
    stop_all(postern, 2)
    thread = threading.Thread(target=lambda: replies.append(mta.send(message)))
    thread.start()
    kill_busy(postern)
    kill_busy(postern)
    thread.join(300)
    for pid in workers(postern):
        os.kill(pid, signal.SIGCONT)
    return replies[0]


def test_three_strikes(postern, mta):
    message = mails.with_attachment("lethal", b"kills")
    assert send_lethal(postern, mta, message)[0] == 451
    assert status(postern)["counters"]["struck"] == 1
    # What is counted outlives posternd, as it does a failover.
    os.kill(postern.pid("posternd"), signal.SIGKILL)
    wait_for(lambda: mta.send(mails.clean("back"))[0] == 250, "posternd comes back")
    # A retry comes with other trace headers.
    retry = b"Received: from elsewhere\r\n" + message
    assert send_lethal(postern, mta, retry)[0] == 451
    code, text = send_lethal(postern, mta, message)
    assert (code, text[:5]) == (550, "5.7.1"), text
    scans = pool(postern)["scans"]
    assert mta.send(retry)[0] == 550  # at once
    assert pool(postern)["scans"] == scans
    (row,) = [row for row in postern.json("quarantine", "list") if row["subject"] == "lethal"]
    assert row["attempts"] == 2
    assert "crashes the scanner" in row["reason"]
    wait_for(lambda: [line for line in postern.log if "crashed the scanner 3 times" in line],
             "the log")
    # Best effort, after the reply: what posternd had not yet written when it died is not there.
    wait_for(lambda: "strike 3" in [row["detail"] for row in
                                    postern.json("incidents", "--kind", "strike")], "the incident")
    # Others with the same body are not meant.
    assert mta.send(message.replace(b"Subject: lethal", b"Subject: the same body"))[0] == 250
    mta.drain()
    assert sorted(mta.delivered()) == ["back", "the same body"]
