# SPDX-License-Identifier: GPL-2.0-only
"""SIGHUP: what is right holds at once, what is wrong changes nothing, the rest is said."""
import os
import signal
import time

import mails


def reload(postern, text, says):
    """The log lines that come of it, up to the one with SAYS."""
    seen = len(postern.log)
    (postern.dir / "postern.conf").write_text(text)
    os.kill(postern.pid("posternd"), signal.SIGHUP)
    end = time.monotonic() + 300
    while not any(says in line for line in postern.log[seen:]):
        assert time.monotonic() < end, postern.log[seen:]
        time.sleep(0.02)
    return "\n".join(postern.log[seen:])


def test_reload(postern, mta):
    conf = (postern.dir / "postern.conf").read_text()
    lines = conf.count("\n")
    assert mta.send(mails.with_attachment("before", mails.EICAR))[0] == 550

    said = reload(postern, conf + "on_infected = discard\nworkers = 7\n", "read again")
    assert "configuration: on_infected = discard (was: quarantine)" in said
    assert "configuration: workers = 7 needs a restart; until then: 0" in said
    assert mta.send(mails.with_attachment("discarded", mails.EICAR))[0] == 250

    said = reload(postern, conf + "on_infected = acept\n", "stays as it was")
    assert f"postern.conf:{lines + 1}: on_infected = acept: must be one of" in said
    assert mta.send(mails.with_attachment("still discarded", mails.EICAR))[0] == 250

    said = reload(postern, conf + 'message_size = "64K"\nstate_low_water = "17M"\n'
                  'rule "r" {\n  senders = {"client.test"}\n  on_infected = tempfail\n}\n',
                  "read again")
    assert 'rule = "r" { senders = {"client.test"}, on_infected = tempfail }' in said
    assert mta.send(mails.with_attachment("rule", mails.EICAR))[0] == 451
    assert mta.send(mails.with_attachment("rule", mails.EICAR), sender="a@else.test")[0] == 550
    assert mta.send(mails.clean("large", b"x" * 70 + b"\r\n" + b"line\r\n" * 20000))[0] == 552
    mta.drain()
    assert not mta.delivered()
    assert set(postern.kept()) == {"before", "discarded", "still discarded", "rule"}
