# SPDX-License-Identifier: GPL-2.0-only
"""What goes wrong at night: each case gets 451 or 550, loses nothing and delivers nothing bad."""
import contextlib
import os
import signal
import subprocess
import threading
import time

import pytest

import instance
import mails
from instance import unmount, wait_for, workers, zygotes


def is_ready(postern):
    return postern.postern("status", check=False).returncode == 0


def kill(pid):
    """One that may just have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_worker_killed(postern, mta):
    """A dead worker costs nothing: the next one scans."""
    for round_ in range(5):
        for pid in workers(postern):
            kill(pid)
        code, text = mta.send(mails.with_attachment(f"killed {round_}", mails.EICAR))
        assert code in (550, 451), text
        wait_for(lambda: is_ready(postern), "workers come back")
    assert mta.send(mails.with_attachment("killed 5", mails.EICAR))[0] == 550
    mta.drain()
    assert not [s for s in mta.delivered() if s.startswith("killed")]


def test_workers_killed_under_load(postern, mta):
    """Numbered mail while workers die: each is 250 and delivered once, 550 and kept, or 451."""
    replies = {}

    def client(number):
        for i in range(20):
            subject = f"load {number} {i}"
            message = mails.with_attachment(subject, mails.EICAR if i % 4 == 0 else b"fine")
            replies[subject] = (i % 4 == 0, mta.send(message)[0])

    threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for pid in workers(postern)[:1]:
            kill(pid)
        time.sleep(0.15)
    mta.drain()
    delivered, kept = mta.delivered(), postern.kept()
    assert len(replies) == 80
    for subject, (infected, code) in replies.items():
        assert code in ((550, 451) if infected else (250, 451)), subject
        assert len(delivered.get(subject, [])) == (1 if code == 250 else 0), subject
        if code == 550:
            assert len(kept[subject]) == 1, subject


def test_posternd_killed(postern, mta):
    """posternd comes back by itself; the engine keeps its signatures."""
    engine = postern.pid("engine")
    os.kill(postern.pid("posternd"), signal.SIGKILL)
    code, _ = mta.send(mails.clean("posternd killed"))
    assert code in (250, 451)
    wait_for(lambda: mta.send(mails.clean("posternd back"))[0] == 250, "posternd comes back")
    assert postern.pid("engine") == engine


def test_engine_killed(postern, mta):
    """Without an engine every mail is 451, never 250."""
    os.kill(postern.pid("engine"), signal.SIGSTOP)
    os.kill(postern.pid("engine"), signal.SIGKILL)
    code, text = mta.send(mails.with_attachment("engine killed", mails.EICAR))
    assert code in (451, 550), text
    wait_for(lambda: mta.send(mails.clean("engine back"))[0] == 250, "the engine comes back")
    mta.drain()
    assert "engine killed" not in mta.delivered()


def test_zygote_killed(postern, mta):
    (zygote,) = zygotes(postern)
    os.kill(zygote, signal.SIGKILL)
    code, text = mta.send(mails.with_attachment("zygote killed", mails.EICAR))
    assert code in (451, 550), text
    wait_for(lambda: mta.send(mails.clean("zygote back"))[0] == 250, "the zygote comes back")
    mta.drain()
    assert "zygote killed" not in mta.delivered()


@pytest.fixture
def small_state(folder, signatures):
    """An instance whose state is on a file system of its own, 24 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    home = folder / "small"
    one = instance.Instance(home, signatures, 'state_low_water = "1M"\nspool_memory = "128M"\n')
    (home / "state").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24M,mode=0700", "postern-test",
                    home / "state"], check=True)
    try:
        yield one.start()
    finally:
        one.stop()
        unmount(home / "state")


@pytest.fixture
def small_mta(small_state, folder):
    import postfix
    one = postfix.Postfix(folder / "postfix-small", f"unix:{small_state.dir}/milter.sock")
    one.start()
    yield one
    one.stop()


def test_full_state(small_state, small_mta):
    """A full state: clean mail flows, infected mail is refused without a copy, none delivered."""
    filler = small_state.dir / "state/filler"
    with open(filler, "wb") as file:
        free = os.statvfs(filler).f_bavail * os.statvfs(filler).f_frsize
        file.write(bytes(free - 512 * 1024))
    assert small_mta.send(mails.clean("full, clean"))[0] == 250
    assert small_mta.send(mails.with_attachment("full, infected", mails.EICAR))[0] == 550
    filler.unlink()
    assert small_mta.send(mails.with_attachment("space again", mails.EICAR))[0] == 550
    small_mta.drain()
    assert list(small_mta.delivered()) == ["full, clean"]
    assert list(small_state.kept()) == ["space again"]


def test_loading_is_451(folder, signatures):
    """Before a verdict can be given posternd answers 451, and nobody waits for it."""
    if os.geteuid() != 0:
        pytest.skip("a private Postfix needs root")
    import postfix
    broken = folder / "broken.hsb"
    broken.write_text("this is not a signature\n")
    one = instance.Instance(folder / "broken", [broken])
    mta = postfix.Postfix(folder / "postfix-broken", f"unix:{one.dir}/milter.sock")
    one.launch()
    mta.start()
    try:
        wait_for(lambda: (one.dir / "milter.sock").exists(), "the milter socket")
        code, text = mta.send(mails.clean("broken signatures"))
        assert code == 451, text
        wait_for(lambda: b"broken.hsb" in one.postern("status", check=False).stdout,
                 "the status names the broken file")
        assert not is_ready(one)
    finally:
        mta.stop()
        one.stop()
    assert not mta.delivered()
