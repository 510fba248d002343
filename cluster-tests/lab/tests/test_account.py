# SPDX-License-Identifier: GPL-2.0-only
"""Doctored logs and copies: each wrong that the account names has to be found, and no other.

The node is a folder; what runs in it is answered from that folder.
"""

import json
import os
import shutil

import pytest

from lablib import account, load, mail, postern

MOMENT = 1000.0


class Node:
    """Postfix's queue and Postern's quarantine of a folder."""

    def __init__(self, root):
        self.root = str(root)
        self.queue = []
        self.listed = []
        self.hidden = set()         # keys that export does not give out

    def run(self, *cmd, stdin=None, **_):
        answer = Answer()
        if cmd[0] == "postqueue":
            answer.stdout = "".join(json.dumps(entry) + "\n" for entry in self.queue)
        elif cmd[:3] == ("postern", "quarantine", "list"):
            answer.stdout = json.dumps(self.listed)
        elif cmd[0] == "mktemp":
            os.makedirs(f"{self.root}/tmp/out")
            answer.stdout = "/tmp/out\n"
        elif cmd[0] == "xargs":
            answer.returncode = self.export(stdin.split())
        elif cmd[0] == "rm":
            shutil.rmtree(f"{self.root}{cmd[2]}")
        return answer

    def export(self, keys):
        bad = 0
        for key in keys:
            copy = f"{self.root}/state/quarantine/{key}.eml"
            if key in self.hidden or not os.path.exists(copy):
                bad = 123
                continue
            with open(copy, "rb") as f, open(f"{self.root}/tmp/out/{key}.eml", "wb") as out:
                f.readline()
                out.write(f.read())
        return bad


class Answer:
    stdout, returncode = "", 0


class World:
    """A client's log, and a cluster that has the mails somewhere."""

    def __init__(self, root):
        self.node = Node(root)
        self.root = root
        self.log = root / "mail.log"
        self.lines = []
        self.ends = []
        self.texts = {}
        for folder in (f".{mail.MAILDIR}/inbox/new", f".{mail.MAILDIR}/inbox/cur",
                       "state/quarantine"):
            (root / folder).mkdir(parents=True)

    def sends(self, ident, code=250, stage="end", kind="clean-plain", error=None, end=True):
        """One attempt; end=False: the client was killed in it."""
        text, digest = load.message(ident, kind, 1)
        self.texts[ident] = text
        number = sum(line["id"] == ident and "begin" in line for line in self.lines) + 1
        base = {"id": ident, "kind": kind, "n": number, "time": MOMENT}
        self.lines.append({**base, "sha256": digest, "begin": True})
        result = {"error": error} if error else {"code": code, "text": "so"}
        if end:
            self.lines.append({**base, "took": 0.1, "stage": stage, **result})
        return self

    def has(self, ident, queue_id="4AAAA1", when=MOMENT, text=None, folder="new"):
        """A copy in the Maildir."""
        path = f"{self.root}{mail.MAILDIR}/inbox/{folder}/{ident}.{queue_id}.{when}"
        head = f"Received: from x by y (Postfix) with ESMTP id {queue_id};\r\n"
        with open(path, "wb") as f:
            f.write(head.encode() + (text or self.texts[ident]).replace(b"\r\n", b"\n"))
        os.utime(path, (when, when))
        return self

    def keeps(self, ident, listed=True, text=None, mark=account.MARK):
        """A copy in the quarantine."""
        key = f"key-{ident}"
        if text is not False:
            with open(self.root / f"state/quarantine/{key}.eml", "wb") as f:
                f.write(mark + b"{}\n" + (text or self.texts[ident]))
        if listed:
            self.node.listed.append({"key": key, "sender": f"<{ident}@client.test>"})
        return self

    def queues(self, ident, queue="deferred"):
        self.node.queue.append({"sender": f"{ident}@client.test", "queue_name": queue})
        return self

    def rows(self):
        """Names of the rows that are not empty, but `sent`, and whether all is good."""
        with open(self.log, "w", encoding="utf-8") as f:
            f.writelines(json.dumps(line) + "\n" for line in self.lines)
        mails = account.read_log(str(self.log))
        self.strangers = []
        account.find_queued(self.node, mails)
        account.find_delivered(str(self.root), mails, self.strangers)
        hollow = account.find_quarantined(self.node, str(self.root), "/state", mails,
                                          self.strangers)
        rows = account.table(mails, self.ends, hollow)
        full = {name for name, ids in rows.items() if ids and name != "sent"}
        return full, account.good(rows)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def clean(world):
    return world.sends("a-1")


def infected(world, **how):
    return world.sends("a-1", **{"code": 550, "kind": "infected-plain", **how})


@pytest.mark.parametrize("tell, row", [
    (lambda w: clean(w).has("a-1"), "delivered once"),
    (lambda w: clean(w).has("a-1", folder="cur"), "delivered once"),
    (lambda w: clean(w).queues("a-1"), "in queue"),
    (lambda w: infected(w).keeps("a-1"), "quarantined"),
    (lambda w: infected(w), "rejected"),
    (lambda w: w.sends("a-1", code=451), "still with the sender"),
    (lambda w: w.sends("a-1", code=250, stage="mail", error="reset"), "still with the sender"),
    (lambda w: infected(w, end=False).keeps("a-1"), "quarantined"),
    (lambda w: infected(w, error="reset").keeps("a-1"), "quarantined"),
    (lambda w: w.sends("a-1", error="reset").has("a-1"), "delivered once"),
    (lambda w: w.sends("a-1", end=False).has("a-1"), "delivered once"),
])
def test_a_good_end(world, tell, row):
    tell(world)
    assert world.rows() == ({row}, True)
    assert not world.strangers


@pytest.mark.parametrize("first", [{"error": "reset"}, {"end": False}])
def test_twice_with_a_cause_in_the_client(world, first):
    """The first attempt had no answer, so the sender had to try again."""
    world.sends("a-1", **first).sends("a-1").has("a-1", "4AAAA1").has("a-1", "4BBBB1")
    assert world.rows() == ({"delivered twice or more"}, True)


def test_twice_with_a_cause_in_the_cluster(world):
    """Postfix delivers again what it may have delivered when it ended."""
    clean(world).has("a-1", when=MOMENT).has("a-1", when=MOMENT + 20)
    assert world.rows() == ({"delivered twice or more", "DELIVERED WITHOUT CAUSE"}, False)
    world.ends = [MOMENT + 100]
    assert not world.rows()[1], "an end after both explains nothing"
    world.ends = [MOMENT + 10]
    assert world.rows() == ({"delivered twice or more"}, True)


def test_twice_without_a_cause(world):
    clean(world).has("a-1", "4AAAA1").has("a-1", "4BBBB1")
    assert world.rows() == ({"delivered twice or more", "DELIVERED WITHOUT CAUSE"}, False)


def test_a_refusal_explains_no_second_copy(world):
    """451 before the end of the mail: nobody took it."""
    world.sends("a-1", code=451).sends("a-1").has("a-1", "4AAAA1").has("a-1", "4BBBB1")
    assert not world.rows()[1]


def test_lost(world):
    clean(world)
    assert world.rows() == ({"LOST"}, False)


def test_accepted_and_then_rejected_is_not_lost_nor_good(world):
    clean(world).sends("a-1", code=550)
    assert world.rows() == ({"rejected", "CLEAN REFUSED"}, False)


@pytest.mark.parametrize("where", ["has", "queues"])
def test_infected_got_in(world, where):
    getattr(infected(world, code=250), where)("a-1")
    full, good = world.rows()
    assert "INFECTED DELIVERED" in full and not good


def test_infected_held_in_the_queue_did_not_get_in(world):
    infected(world, code=250).queues("a-1", "hold")
    assert world.rows() == ({"in queue"}, True)


def test_clean_refused(world):
    clean(world).keeps("a-1")
    assert world.rows() == ({"quarantined", "CLEAN REFUSED"}, False)


def damaged(text):
    return text.replace(b"Mail a-1.", b"Mail a-1!")


@pytest.mark.parametrize("text", [damaged, lambda text: text[:-20], lambda text: text + b"x\r\n"])
def test_damaged_in_the_maildir(world, text):
    clean(world).has("a-1", text=text(world.texts["a-1"]))
    assert world.rows() == ({"delivered once", "DAMAGED"}, False)


def test_more_headers_are_no_damage(world):
    clean(world).has("a-1", text=b"X-Virus-Scanned: so\r\n" + world.texts["a-1"])
    assert world.rows() == ({"delivered once"}, True)


def test_damaged_in_the_quarantine(world):
    infected(world).keeps("a-1", text=damaged(world.texts["a-1"]))
    assert world.rows() == ({"rejected", "DAMAGED"}, False)


def test_without_the_first_line(world):
    infected(world).keeps("a-1", mark=b"Subject: ")
    assert world.rows() == ({"rejected", "DAMAGED"}, False)


def test_not_on_the_list(world):
    infected(world).keeps("a-1", listed=False)
    assert world.rows() == ({"quarantined", "NOT LISTED"}, False)


def test_on_the_list_without_a_file(world):
    infected(world).keeps("a-1", text=False)
    assert world.rows() == ({"rejected", "LISTED WITHOUT COPY"}, False)


def test_a_copy_that_does_not_come_out(world):
    """The file is right and the list knows it, but `postern quarantine export` fails."""
    infected(world).keeps("a-1")
    world.sends("a-2", code=550, kind="infected-zip").keeps("a-2")
    world.node.hidden.add("key-a-1")
    full, good = world.rows()
    assert full == {"rejected", "quarantined", "DAMAGED"} and not good


def test_a_copy_that_comes_out_as_another(world):
    infected(world).keeps("a-1")
    whole = world.node.export
    world.node.export = lambda keys: whole(keys) or spoil(f"{world.root}/tmp/out/key-a-1.eml")
    assert world.rows() == ({"rejected", "DAMAGED"}, False)


def spoil(path):
    with open(path, "ab") as f:
        f.write(b"more\r\n")
    return 0


def test_accepted_and_kept(world):
    """Discarded by policy: the sender got a 250, a person has the copy."""
    infected(world, code=250).keeps("a-1")
    assert world.rows() == ({"quarantined"}, True)


def test_strangers_are_named_and_harm_nobody(world):
    clean(world).has("a-1")
    other, _ = load.message("b-9", "clean-plain", 2)
    world.has("b-9", "4CCCC1", text=other)
    world.has("none", "4DDDD1", text=b"Subject: x\r\n\r\ny\r\n")
    assert world.rows() == ({"delivered once"}, True)
    assert sorted(world.strangers) == ["a mail without X-Lab-Id", "b-9"]


def test_places_add_up(world):
    """All at once: each mail has one place."""
    world.sends("a-1").has("a-1")
    world.sends("a-2", code=451)
    world.sends("a-3", code=550, kind="infected-zip").keeps("a-3")
    world.sends("a-4")
    world.sends("a-5").queues("a-5").has("a-5")
    rows, good = world.rows()
    assert rows == {"delivered once", "still with the sender", "quarantined", "LOST"} and not good


def test_log_whose_last_line_is_half_written(world, tmp_path):
    clean(world).has("a-1").rows()
    with open(world.log, "a", encoding="utf-8") as f:
        f.write('{"id": "a-2", "ki')
    assert set(account.read_log(str(world.log))) == {"a-1"}
    (tmp_path / "no.log").write_text("no\n{}\n")
    with pytest.raises(account.UsageError, match="no.log:1 is not JSON"):
        account.read_log(str(tmp_path / "no.log"))
    with pytest.raises(account.UsageError, match="cannot be read"):
        account.read_log(str(tmp_path / "none"))


def test_eicar_is_whole():
    """What calls itself infected in the load has to be."""
    assert len(postern.eicar()) == 68
    text, _ = load.message("a-1", "infected-plain", 1)
    assert postern.eicar() in text
