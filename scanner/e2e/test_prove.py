# SPDX-License-Identifier: GPL-2.0-only
"""postern prove: Postfix's log, written as Postfix writes it and by a real one, and Postern's."""
import gzip
import json
import os
import subprocess
import time

import pytest

import instance
import mails


def at(second, minute=0, hour=10, day=2):
    return f"2026-03-{day:02}T{hour:02}:{minute:02}:{second:02}.000000+00:00"


def smtpd(qid, when, tag="postfix/smtpd", pid=10, client="c.test[192.0.2.1]"):
    return [f"{when} mx {tag}[{pid}]: {qid}: client={client}"]


def cleanup(qid, when, mid, tag="postfix"):
    return [f"{when} mx {tag}/cleanup[11]: {qid}: message-id=<{mid}>"]


def verdict(qid, when, mid, word="clean", action="accept", level="[info] "):
    return [f"{when} mx posternd[5]: {level}{qid}: message-id=<{mid}> client=c.test[192.0.2.1] user=- "
            f'direction=inbound from=s@c.test rcpts=1 size=3 verdict={word} reason=- '
            f"action={action} scan_ms=1 store_ms=0 total_ms=1"]


def queued(qid, when, tag="postfix"):
    return [f"{when} mx {tag}/qmgr[3]: {qid}: from=<s@c.test>, size=400, nrcpt=1 (queue active)"]


def sent(qid, when, tag="postfix", more="delivered to maildir", relay="virtual"):
    return [f"{when} mx {tag}/virtual[4]: {qid}: to=<u@lab.test>, relay={relay}, delay=0.1, "
            f"delays=0/0/0/0, dsn=2.0.0, status=sent ({more})"]


def removed(qid, when, tag="postfix"):
    return [f"{when} mx {tag}/qmgr[3]: {qid}: removed"]


def whole(qid, when, mid, judged=True, tag="postfix"):
    return smtpd(qid, when) + cleanup(qid, when, mid, tag) + \
        (verdict(qid, when, mid) if judged else []) + queued(qid, when, tag) + \
        sent(qid, when, tag) + removed(qid, when, tag)


class Proof:
    def __init__(self, run):
        self.status = run.returncode
        self.error = run.stderr.decode()
        lines = [json.loads(line) for line in run.stdout.splitlines()]
        self.sums = {k: v for k, v in lines[-1]["summary"]["messages"].items() if v}
        self.summary = lines[-1]["summary"]
        self.messages = lines[:-1]

    def of(self, qid):
        return [(m["state"], m["outcome"], m["cause"]) for m in self.messages
                if m["queue_id"] == qid]


def prove(*words, **more):
    run = subprocess.run([instance.BUILD / "postern", "prove", "--json", *words],
                         capture_output=True, check=False, timeout=300, **more)
    return Proof(run) if run.stdout else run


def prove_lines(tmp_path, *parts, words=()):
    path = tmp_path / "mail.log"
    path.write_text("\n".join(line for part in parts for line in part) + "\n")
    return prove("--log", path, *words)


def test_all_recorded(tmp_path):
    proof = prove_lines(tmp_path, whole("4ABCDE1234", at(1), "a"),
                        whole("4fXyZ12bcdz1", at(2), "b"))
    assert (proof.status, proof.sums) == (0, {"recorded": 2})
    (message,) = [m for m in proof.messages if m["queue_id"] == "4ABCDE1234"]
    assert (message["verdict"], message["action"], message["from"]) == \
        ("clean", "accept", "<s@c.test>")


@pytest.mark.parametrize("level", ["", "[info] ", "[notice] "])
def test_the_level_of_the_line(tmp_path, level):
    """Syslog's lines have it in front, those of a terminal do not."""
    proof = prove_lines(tmp_path, whole("4ABCDE1234", at(1), "a", judged=False),
                        verdict("4ABCDE1234", at(1), "a", level=level))
    assert (proof.status, proof.sums) == (0, {"recorded": 1})


def test_not_seen(tmp_path):
    proof = prove_lines(tmp_path, whole("4ABCDE1234", at(1), "a", judged=False))
    assert (proof.status, proof.sums) == (1, {"unrecorded": 1})
    assert proof.of("4ABCDE1234") == [("unrecorded", "delivered", "not seen")]


def test_bypassed(tmp_path):
    """Postfix's own warning tells that it went on without its milter."""
    warning = [f"{at(1)} mx postfix/smtpd[10]: connect from c.test[192.0.2.1]",
               f"{at(1)} mx postfix/smtpd[10]: warning: connect to Milter service unix:/m.sock: "
               "Connection refused"]
    proof = prove_lines(tmp_path, warning, whole("4ABCDE1234", at(1), "a", judged=False),
                        [f"{at(5)} mx postfix/smtpd[10]: connect from d.test[192.0.2.2]"],
                        whole("4ABCDE1235", at(5), "b", judged=False))
    assert proof.of("4ABCDE1234") == [("unrecorded", "delivered", "bypassed")]
    assert "Connection refused" in proof.messages[0]["why"]
    assert proof.of("4ABCDE1235") == [("unrecorded", "delivered", "not seen")]


def test_crash(tmp_path):
    proof = prove_lines(tmp_path, whole("4ABCDE1234", at(1), "a", judged=False),
                        [f"{at(9)} mx posternd[6]: [notice] posternd 0.1.0 serves"],
                        whole("4ABCDE1235", at(0, hour=11), "b", judged=False))
    assert proof.of("4ABCDE1234") == [("unrecorded", "delivered", "crash")]
    assert proof.of("4ABCDE1235") == [("unrecorded", "delivered", "not seen")]


def test_local_submission(tmp_path):
    lines = [f"{at(1)} mx postfix/pickup[9]: 4ABCDE1234: uid=33 from=<www-data>"]
    proof = prove_lines(tmp_path, lines, cleanup("4ABCDE1234", at(1), "a"),
                        queued("4ABCDE1234", at(1)))
    assert proof.of("4ABCDE1234") == [("unrecorded", "queued", "not seen")]
    assert "uid=33" in proof.messages[0]["why"]


def test_contrary(tmp_path):
    """Postern said no, and it was delivered all the same."""
    qid, when = "4ABCDE1234", at(1)
    proof = prove_lines(tmp_path, smtpd(qid, when), cleanup(qid, when, "a"),
                        verdict(qid, when, "a", "infected", "quarantine"), queued(qid, when),
                        sent(qid, when), removed(qid, when))
    assert (proof.status, proof.of(qid)) == (1, [("contrary", "delivered", None)])


@pytest.mark.parametrize("word, action, line", [
    ("infected", "quarantine", "milter-reject: END-OF-MESSAGE from c.test[192.0.2.1]: 5.7.1 no; "
     "from=<s@c.test> to=<u@lab.test> proto=ESMTP helo=<c>"),
    ("error", "tempfail", "milter-reject: END-OF-MESSAGE from c.test[192.0.2.1]: 4.7.1 later; "
     "from=<s@c.test> to=<u@lab.test> proto=ESMTP helo=<c>")])
def test_refused(tmp_path, word, action, line):
    qid, when = "4ABCDE1234", at(1)
    proof = prove_lines(tmp_path, smtpd(qid, when), cleanup(qid, when, "a"),
                        verdict(qid, when, "a", word, action),
                        [f"{when} mx postfix/cleanup[11]: {qid}: {line}"])
    assert (proof.status, proof.sums) == (0, {"refused": 1})


@pytest.mark.parametrize("judged", [True, False])
def test_discarded(tmp_path, judged):
    """A 250 without delivery: Postern's record is then all that is left."""
    qid, when = "4ABCDE1234", at(1)
    proof = prove_lines(tmp_path, smtpd(qid, when), cleanup(qid, when, "a"),
                        verdict(qid, when, "a", "infected", "discard") if judged else [],
                        [f"{when} mx postfix/cleanup[11]: {qid}: milter-discard: END-OF-MESSAGE "
                         "from c.test[192.0.2.1]: milter triggers DISCARD action; from=<s@c.test>"])
    assert (proof.status, proof.sums) == ((0, {"recorded": 1}) if judged else
                                          (1, {"unrecorded": 1}))


def test_held_and_deleted(tmp_path):
    qid, when = "4ABCDE1234", at(1)
    hold = [f"{when} mx postfix/cleanup[11]: {qid}: milter-hold: END-OF-MESSAGE from c: x; from=<>"]
    proof = prove_lines(tmp_path, smtpd(qid, when), cleanup(qid, when, "a"), hold)
    assert proof.of(qid) == [("unrecorded", "held", "not seen")]
    proof = prove_lines(tmp_path, smtpd(qid, when), cleanup(qid, when, "a"),
                        verdict(qid, when, "a"), hold,
                        [f"{when} mx postfix/postsuper[9]: {qid}: removed"])
    assert proof.of(qid) == [("recorded", "deleted", None)]


def test_refused_commands(tmp_path):
    lines = [f"{at(1)} mx postfix/smtpd[1]: NOQUEUE: milter-reject: MAIL from c.test[192.0.2.1]: "
             "451 4.7.1 later; from=<s@c.test> proto=ESMTP helo=<c>",
             f"{at(1)} mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from c.test[192.0.2.1]: 554 5.7.1 "
             "Relay access denied; from=<s@c.test> to=<x@y> proto=ESMTP helo=<c>"]
    proof = prove_lines(tmp_path, lines)
    assert proof.status == 0
    assert proof.summary["refused_commands_temporary"] == 1
    assert proof.summary["refused_commands_lasting"] == 0


def test_given_up(tmp_path):
    proof = prove_lines(tmp_path, smtpd("4ABCDE1234", at(1)), cleanup("4ABCDE1234", at(1), "a"))
    assert (proof.status, proof.sums) == (0, {"given up": 1})


def test_queue_id_comes_again(tmp_path):
    """The same short id for two messages; the second one unseen."""
    proof = prove_lines(tmp_path, whole("4ABCDE1234", at(1), "a"),
                        whole("4ABCDE1234", at(3), "b", judged=False),
                        whole("4ABCDE1234", at(5), "c"))
    assert proof.of("4ABCDE1234") == [("recorded", "delivered", None),
                                      ("unrecorded", "delivered", "not seen"),
                                      ("recorded", "delivered", None)]


def test_verdict_before_and_after(tmp_path):
    """Lines of other programs come some moments early or late."""
    early = verdict("4ABCDE1234", at(1), "a") + whole("4ABCDE1234", at(1), "a", judged=False)
    late = whole("4ABCDE1235", at(2), "b", judged=False) + verdict("4ABCDE1235", at(3), "b")
    proof = prove_lines(tmp_path, early, late)
    assert (proof.status, proof.sums) == (0, {"recorded": 2})


def test_two_instances(tmp_path):
    """Each has its own queue, so the same id at the same time."""
    a, b = whole("4ABCDE1234", at(1), "a"), whole("4ABCDE1234", at(1), "b", False, "postfix-out")
    proof = prove_lines(tmp_path, a[:3], b[:2], a[3:], b[2:])
    assert sorted((m["instance"], m["state"]) for m in proof.messages) == \
        [("postfix", "recorded"), ("postfix-out", "unrecorded")]


def test_service_name_of_its_own(tmp_path):
    qid, when = "4ABCDE1234", at(1)
    proof = prove_lines(tmp_path, smtpd(qid, when, "submission/smtpd"), cleanup(qid, when, "a"),
                        queued(qid, when), sent(qid, when), removed(qid, when))
    assert proof.of(qid) == [("unrecorded", "delivered", "not seen")]
    assert proof.messages[0]["service"] == "submission/smtpd"


def test_requeued(tmp_path):
    old, new = "4ABCDE1234", "4ABCDE9999"
    proof = prove_lines(
        tmp_path, smtpd(old, at(1)), cleanup(old, at(1), "a"), verdict(old, at(1), "a"),
        queued(old, at(1)), [f"{at(2)} mx postfix/postsuper[9]: {old}: requeued",
                             f"{at(2)} mx postfix/pickup[9]: {new}: uid=103 from=<s@c.test> "
                             f"orig_id={old}"],
        cleanup(new, at(2), "a"), queued(new, at(2)), sent(new, at(2)), removed(new, at(2)))
    assert proof.of(old) == [("recorded", "requeued", None)]
    assert proof.of(new) == [("recorded", "delivered", None)]
    assert proof.messages[-1]["parent"] == old


def test_content_filter_and_alias(tmp_path):
    """What a filter hands back, or an alias makes, has the verdict of what it was."""
    old, new, third = "4ABCDE1234", "4ABCDE9999", "4ABCDE7777"
    proof = prove_lines(
        tmp_path, smtpd(old, at(1)), cleanup(old, at(1), "a"), verdict(old, at(1), "a"),
        queued(old, at(1)),
        smtpd(new, at(2), "postfix/10025/smtpd", 12, "localhost[127.0.0.1]"),
        cleanup(new, at(2), "a"), queued(new, at(2)),
        sent(old, at(2), more=f"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as "
             f"{new}", relay="127.0.0.1[127.0.0.1]:10024"), removed(old, at(2)),
        cleanup(third, at(3), "a"), queued(third, at(3)),
        sent(new, at(3), more=f"forwarded as {third}", relay="local"), removed(new, at(3)),
        sent(third, at(3)), removed(third, at(3)))
    assert (proof.status, proof.sums) == (0, {"recorded": 3})


def test_a_far_server_is_no_child(tmp_path):
    old, new = "4ABCDE1234", "4ABCDE9999"
    proof = prove_lines(tmp_path, whole(new, at(1), "b", judged=False), smtpd(old, at(1)),
                        cleanup(old, at(1), "a"), verdict(old, at(1), "a"), queued(old, at(1)),
                        sent(old, at(2), more=f"250 2.0.0 Ok: queued as {new}",
                             relay="mx.far.test[198.51.100.1]:25"), removed(old, at(2)))
    assert proof.of(new) == [("unrecorded", "delivered", "not seen")]


def test_bounce_is_internal(tmp_path):
    old, new = "4ABCDE1234", "4ABCDE9999"
    proof = prove_lines(tmp_path, whole(old, at(1), "a")[:-1], cleanup(new, at(2), "bounce"),
                        [f"{at(2)} mx postfix/bounce[8]: {old}: sender non-delivery notification: "
                         f"{new}"], queued(new, at(2)), sent(new, at(2)), removed(new, at(2)),
                        removed(old, at(2)))
    assert (proof.status, proof.sums) == (0, {"recorded": 1, "internal": 1})


def test_released(tmp_path):
    qid = "4ABCDE1234"
    lines = smtpd(qid, at(1), "postfix/postern-release/smtpd") + cleanup(qid, at(1), "a") + \
        queued(qid, at(1)) + sent(qid, at(1)) + removed(qid, at(1))
    assert prove_lines(tmp_path, lines).sums == {"released": 1}
    assert prove_lines(tmp_path, lines, words=("--release-service", "other")).sums == \
        {"unrecorded": 1}


def test_earlier_and_since(tmp_path):
    """What began before the window cannot be judged, and is no alarm."""
    lines = whole("4ABCDE1234", at(1), "a", judged=False)
    later = queued("4ABCDE1234", at(0, 30)) + sent("4ABCDE1234", at(0, 30))
    proof = prove_lines(tmp_path, lines[:3], later, words=("--since", "2026-03-02T10:10"),)
    assert (proof.status, proof.sums) == (0, {"earlier": 1})
    assert prove_lines(tmp_path, lines, words=("--since", "2026-03-03")).sums == {}


def test_rotated_and_separate_files(tmp_path):
    """Postfix's and Postern's lines in files of their own, one of them rotated and compressed."""
    first, second = smtpd("4ABCDE1111", at(0)) + whole("4ABCDE1234", at(1), "a"), whole("4ABCDE1235", at(1, hour=12), "b")
    both = first + second
    ours = [line for line in both if "posternd" in line]
    theirs = [line for line in both if "posternd" not in line]
    with gzip.open(tmp_path / "mail.log.2.gz", "wt") as file:
        file.write("\n".join(theirs[:4]) + "\n")
    (tmp_path / "mail.log").write_text("\n".join(theirs[4:]) + "\n")
    (tmp_path / "postern.log").write_text("\n".join(ours) + "\n")
    logs = [word for name in ("mail.log", "postern.log", "mail.log.2.gz")
            for word in ("--log", tmp_path / name)]
    assert (prove(*logs).status, prove(*logs).sums) == (0, {"recorded": 2, "given up": 1})


def traditional(lines, month="Mar"):
    return [f"{month} {int(line[8:10]):2} {line[11:19]} {line[33:]}" for line in lines]


def test_traditional_times(tmp_path):
    """No year in them: the file's last change tells it; and the year may turn."""
    old = traditional([line.replace("2026-03-02T10:", "2026-12-31T23:") for line in
                       whole("4ABCDE1234", at(59, 59), "a")], "Dec")
    new = traditional([line.replace("2026-03-02T10:", "2027-01-01T00:") for line in
                       whole("4ABCDE1235", at(1), "b", judged=False)], "Jan")
    path = tmp_path / "mail.log"
    path.write_text("\n".join(old + new) + "\n")
    os.utime(path, (1798800000, 1798800000))  # 2027-01-01
    proof = prove("--log", path, env={**os.environ, "TZ": "UTC"})
    assert proof.sums == {"recorded": 1, "unrecorded": 1}
    assert [int(m["time"]) for m in proof.messages] == [1798761599, 1798761601]


def test_standard_input(tmp_path):
    text = "\n".join(whole("4ABCDE1234", at(1), "a")).encode()
    assert prove("--log", "-", input=text).sums == {"recorded": 1}


def test_journal(tmp_path):
    """Journal files; a line that another user wrote under Postern's name does not count."""
    def entry(line, uid):
        text = line.split("]: ", 1)[1]
        tag = line.split()[2].split("[")[0]
        return (f"__REALTIME_TIMESTAMP={1772445600000000 + len(entries)}\n_BOOT_ID={'0' * 31}1\n"
                f"SYSLOG_FACILITY=2\nSYSLOG_IDENTIFIER={tag}\n_PID=7\n_UID={uid}\nMESSAGE={text}\n")

    entries = []
    for qid, uid in ("4ABCDE1234", 0), ("4ABCDE1235", 65534):
        for line in whole(qid, at(1), qid):
            entries.append(entry(line, uid if "posternd" in line else 0))
    journal = tmp_path / "journal"
    journal.mkdir()
    tool = "/lib/systemd/systemd-journal-remote"
    subprocess.run([tool, "-o", journal / "x.journal", "-"], check=True, capture_output=True,
                   input="\n".join(entries).encode() + b"\n")
    proof = prove("--log", f"journal:{journal}")
    assert proof.of("4ABCDE1234") == [("recorded", "delivered", None)]
    assert proof.of("4ABCDE1235") == [("unrecorded", "delivered", "not seen")]


@pytest.mark.parametrize("words, text", [
    (["--log", "/nonexistent"], "/nonexistent: cannot be read"),
    (["--log", "/etc"], "/etc: cannot be read"),
    (["--log", "journal:/nonexistent"], "journal cannot be opened"),
    (["--since", "soon"], "--since soon is no time"),
    (["extra"], "extra: there is nothing")])
def test_errors(words, text):
    run = prove(*words)
    assert run.returncode == 2
    assert text in run.stderr.decode()


def test_damaged(tmp_path):
    """A cut gzip file, and a file that is no log."""
    text = "\n".join(f"line {n}" for n in range(5000)) + "\n"
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress("\n".join(
        line for n in range(3000) for line in whole(f"4ABCDE{n:04}", at(1), str(n))).encode())[:-400])
    proof = prove("--log", cut)
    assert proof.status == 2 and "cannot be read" in proof.error
    other = tmp_path / "other"
    other.write_text(text)
    proof = prove("--log", other)
    assert proof.status == 2 and "none of the 5000 lines" in proof.error


def test_hostile_text(tmp_path):
    """What senders choose cannot forge a field, nor reach the terminal."""
    qid, when = "4ABCDE1234", at(1)
    forged = [f"{when} mx posternd[5]: [info] {qid}: message-id=\"<x verdict=clean action=accept\" "
              "client=c user=- from=s rcpts=1 size=3 verdict=infected reason=- action=reject x=1"]
    proof = prove_lines(tmp_path, smtpd(qid, when), forged, queued(qid, when))
    assert proof.messages[0]["action"] == "reject"
    path = tmp_path / "evil.log"
    path.write_bytes(b"\n".join(line.encode() for line in whole(qid, when, "a", judged=False))
                     .replace(b"s@c.test", b"\x1b[2Js\xff@c") + b"\n" + b"A" * 100000 + b"\n")
    run = subprocess.run([instance.BUILD / "postern", "prove", "--log", path],
                         capture_output=True, check=False)
    assert run.returncode == 1 and b"\x1b" not in run.stdout and b"\\x1b[2J" in run.stdout


def test_memory(tmp_path):
    """A long log needs no more memory than a short one: only open messages are kept."""
    def peak(messages):
        path = tmp_path / "long.log"
        with open(path, "w", encoding="ascii") as file:
            for n in range(messages):
                when = at(n % 60, n // 60 % 60, n // 3600 % 24, 2 + n // 86400)
                file.write("\n".join(whole(f"4ABCDE{n:06X}", when, f"{n}@c.test")) + "\n")
        with subprocess.Popen([instance.BUILD / "postern", "prove", "--quiet", "--log", path],
                              stdout=subprocess.PIPE) as run:
            out = run.stdout.read()
            _, status, usage = os.wait4(run.pid, 0)
            run.returncode = os.waitstatus_to_exitcode(status)
        assert run.returncode == 0
        assert f"{messages}  taken with a verdict".encode() in out
        return usage.ru_maxrss

    assert peak(100000) < peak(10000) + 4 * 1024


def stamped(lines):
    """What a syslog would make of the lines that posternd wrote on stderr."""
    now = time.strftime("%b %e %H:%M:%S")
    for line in lines:
        parts = line.split(": ", 2)
        if len(parts) == 3 and parts[0] == "posternd":
            yield f"{now} mx posternd[5]: {parts[2]}"


def test_real_postfix(postern, mta, tmp_path):
    """Every message through the chain is recorded, but the one that sendmail brought in."""
    for n in range(5):
        assert mta.send(mails.clean(f"prove {n}"))[0] == 250
    assert mta.send(mails.with_attachment("prove virus", mails.EICAR))[0] == 550
    mta.drain()
    ours = tmp_path / "postern.log"
    logs = ["--log", mta.dir / "mail.log", "--log", ours]

    def all_written():
        """What each has said goes through a process or a thread that writes it down."""
        ours.write_text("\n".join(stamped(list(postern.log))) + "\n")
        proof = prove(*logs)
        return (proof.status, proof.sums) == (0, {"recorded": 5, "refused": 1})
    instance.wait_for(all_written, "a proof of all")
    subprocess.run(["sendmail", "-C", mta.dir / "conf", "-f", "root@lab.test", "user@lab.test"],
                   check=True, input=b"Subject: unseen\n\nhello\n")
    subprocess.run(["timeout", "300", "sh", "-c", 'until grep -A9 "uid=" "$0" | grep -q removed; '
                    "do sleep 0.1; done", mta.dir / "mail.log"], check=True)
    proof = prove(*logs)
    assert proof.status == 1
    assert proof.sums == {"recorded": 5, "refused": 1, "unrecorded": 1}
