# SPDX-License-Identifier: GPL-2.0-only
"""on_infected = replace with a real Postfix: what is clean is delivered, the rest is a text."""
import email
import email.policy
import os
import re

import mails

SETTINGS = """
on_infected = replace
on_encrypted = replace
rule "shells" {
    recipients = {"shell@lab.test"}
    on_emptied = discard
}
rule "boss" {
    recipients = {"boss@lab.test"}
    on_infected = discard
}
"""


def delivered(mta, subject):
    mta.drain()
    (raw,) = mta.delivered()[subject]
    for part in email.message_from_bytes(raw).walk():
        assert mails.EICAR not in (part.get_payload(decode=True) or b"")
    return email.message_from_bytes(raw, policy=email.policy.default)


def leaves(message):
    return [part for part in message.walk()
            if not part.is_multipart() and part.get_content_maintype() != "multipart"]


def check_replaced(postern, mta, subject, message):
    """Delivered without the bad part, the original kept byte for byte; returns what came."""
    code, text = mta.send(message)
    assert code == 250, text
    got = delivered(mta, subject)
    assert got["X-Postern"] == "clean"
    assert got["X-Postern-Action"] == "replace"
    key = got["X-Postern-Key"]
    assert postern.postern("quarantine", "show", "--raw", key).stdout.endswith(message)
    notices = [part for part in leaves(got)
               if part.get_content_maintype() == "text" and key in part.get_content()]
    assert notices
    for part in notices:
        assert part.get_content_type() == "text/plain"
        assert re.search(r"^Found: +\S|^Reason: +\S", part.get_content(), re.M)
    return got


def test_attachment(postern, mta):
    message = mails.with_attachment("one zip", mails.zipped(mails.EICAR), "invoice.zip")
    got = check_replaced(postern, mta, "one zip", message)
    first, second = leaves(got)
    assert first.get_content() == "one zip\n"
    assert "File:   invoice.zip" in second.get_content()
    assert got.get_content_type() == "multipart/mixed"


def test_several(postern, mta):
    good = bytes(range(256)) * 300
    message = mails.multipart("several", [
        mails.text_part(b"text"), mails.attachment(mails.EICAR, "a.com"),
        mails.attachment(good, "good.bin"), mails.attachment(mails.EICAR, "b.com")])
    text, one, fine, two = leaves(check_replaced(postern, mta, "several", message))
    assert text.get_content() == "text\n"
    assert "a.com" in one.get_content()
    assert fine.get_content() == good
    assert "b.com" in two.get_content()


def test_nested_multipart(postern, mta):
    inner = b'Content-Type: multipart/alternative; boundary="=_i"\r\n\r\n--=_i\r\n' + \
        mails.text_part(b"plain") + b"\r\n--=_i\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n" \
        b"\r\n--=_i--\r\n"
    message = mails.multipart("nested parts", [inner, mails.attachment(mails.EICAR)])
    plain, html, notice = leaves(check_replaced(postern, mta, "nested parts", message))
    assert (plain.get_content(), html.get_content()) == ("plain\n", "<p>html</p>\n")
    assert "sample.bin" in notice.get_content()


def test_inner_message(postern, mta):
    inner = mails.with_attachment("inner", mails.EICAR, "deep.com").replace(b"=_b", b"=_inner")
    got = check_replaced(postern, mta, "forwarded", mails.nested("forwarded", inner))
    outer, text, notice = leaves(got)
    assert text.get_content_type() == notice.get_content_type() == "text/plain"
    assert outer.get_content() == "see the attachment\n"
    assert text.get_content() == "inner\n"
    assert "deep.com" in notice.get_content()


def test_big(postern, mta):
    """More than one piece of a new body."""
    good = os.urandom(3_000_000)
    message = mails.multipart("big", [mails.text_part(), mails.attachment(good, "good.bin"),
                                      mails.attachment(mails.EICAR, "bad.com")])
    assert leaves(check_replaced(postern, mta, "big", message))[1].get_content() == good


def test_foreign_name(postern, mta):
    name = "=?utf-8?B?0YHRh9GR0YIuY29t?="  # счёт.com
    message = mails.with_attachment("foreign name", mails.EICAR, name)
    notice = leaves(check_replaced(postern, mta, "foreign name", message))[1]
    assert notice["Content-Transfer-Encoding"] == "base64"
    assert "счёт.com" in notice.get_content()


def check_whole(postern, mta, subject, message, recipients=("user@lab.test",)):
    code, text = mta.send(message, recipients=recipients)
    assert (code, text[:5]) == (550, "5.7.1"), text
    (row,) = [row for row in postern.json("quarantine", "list") if row["subject"] == subject]
    mta.drain()
    assert subject not in mta.delivered()
    return row["reason"]


def test_emptied(postern, mta):
    """No shells: where nothing would remain nothing is delivered."""
    assert "nothing would remain" in check_whole(postern, mta, "single", mails.infected()["plain"].replace(
        b"Subject: plain", b"Subject: single"))
    blank = mails.multipart("blank", [mails.text_part(b" \r\n\t"), mails.attachment(mails.EICAR)])
    assert "nothing would remain" in check_whole(postern, mta, "blank", blank)


def test_signed_is_quarantined_whole(postern, mta):
    body = mails.multipart("signed", [
        b'Content-Type: multipart/mixed; boundary="=_i"\r\n\r\n--=_i\r\n' + mails.text_part() +
        b"\r\n--=_i\r\n" + mails.attachment(mails.EICAR) + b"\r\n--=_i--\r\n",
        b"Content-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\nxx\r\n"
        b"-----END PGP SIGNATURE-----\r\n"])
    body = body.replace(b"multipart/mixed; boundary=\"=_b\"",
                        b'multipart/signed; protocol="application/pgp-signature"; boundary="=_b"', 1)
    assert "it is signed" in check_whole(postern, mta, "signed", body)


def test_strictest_of_several_recipients(postern, mta):
    """One rule discards: then nobody gets it, and the sender hears 250."""
    message = mails.with_attachment("two rules", mails.EICAR)
    assert mta.send(message, recipients=("user@lab.test", "boss@lab.test"))[0] == 250
    mta.drain()
    assert "two rules" not in mta.delivered()
    assert len(postern.kept()["two rules"]) == 1


def test_emptied_by_rule(postern, mta):
    message = mails.infected()["plain"].replace(b"Subject: plain", b"Subject: shell")
    assert mta.send(message + b"x\r\n", recipients=("shell@lab.test",))[0] == 250
    mta.drain()
    assert "shell" not in mta.delivered()
    assert len(postern.kept()["shell"]) == 1


def test_counted(postern, mta):
    counters = postern.json("status")["posternd"]["counters"]
    assert counters["replaced"] == 6
    assert counters["discarded"] == 2
    assert counters["emptied"] == 3
