# SPDX-License-Identifier: GPL-2.0-only
"""A CLD, which libfreshclam builds of a CVD and differences, is taken whole or not at all: libclamav
loads one that lacks files, and finds less."""
import pathlib
import shutil
import tempfile

import pytest

from update_site import PROGRAMS, programs, site  # noqa: F401


def members(cld):
    """(name, where it begins, where it ends) of each file in it."""
    at = 512
    while at < len(cld):
        size = int(cld[at + 124:at + 136].split(b"\0")[0], 8)
        end = at + 512 + (size + 511) // 512 * 512
        yield cld[at:at + 100].split(b"\0")[0].decode(), at, end
        at = end


@pytest.fixture
def cld(site):
    """As libfreshclam built it."""
    site.publish(1)
    site.update()
    site.publish(6)
    done = site.update()
    assert site.files(done["generation"]) == {"test.cld": 6}
    return (site.update_dir / "sources/official/test.cld").read_bytes()


def test_cut_anywhere(site, cld):
    local = site.dir / "test.cld"
    before = site.json("list")
    found = list(members(cld))
    assert len(found) > 15 and found[1][0] == "test.info"
    for name, begins, ends in found[1:]:
        wrong = {cld[:begins]: f"{local}: lacks test.",
                 cld[:begins] + cld[ends:]: f"{local}: lacks {name}",
                 cld[:ends - 512]: f"{local}: is cut off within its {name}"}
        for content, sentence in wrong.items():
            local.write_bytes(content)
            refused = site.postern("add", local)
            assert refused.returncode != 0 and sentence in refused.stderr
    assert site.json("list") == before
    local.write_bytes(cld)
    added = site.postern("add", local)
    assert added.returncode == 0, added.stderr


def test_directory(site, cld):
    """One that is being copied there keeps nothing else back, and comes when it is whole."""
    local = site.dir / "local"
    local.mkdir()
    (local / "own.ndb").write_text("A.Sig:0:*:41414141\n")
    (local / "test.cld").write_bytes(cld[:list(members(cld))[-1][1]])
    site.write(update_directories=[str(local)], update_databases=["none"])
    done = site.update(1)
    source = done["update"]["sources"][-1]
    assert source["result"] == "failed"
    assert f"{local}/test.cld: lacks " in source["error"]
    assert "that its test.info lists" in source["error"]
    assert site.files(done["generation"]) == {"own.ndb": 0}
    (local / "test.cld").write_bytes(cld)
    assert site.files(site.update()["generation"]) == {"own.ndb": 0, "test.cld": 6}


def test_what_was_built_is_not_whole(site, cld):
    """As of a postern-fetch that was taken over, or did not see that a file could not be read."""
    own = pathlib.Path(tempfile.mkdtemp(dir=site.dir))
    own.chmod(0o755)
    for name in PROGRAMS:
        shutil.copy(site.programs / name, own)
    real, site.programs = site.programs, own
    place = site.update_dir / "sources/official/test.cld"
    (own / "postern-fetch").write_text(f"""#!/bin/sh
head -c {list(members(cld))[-1][1]} {place} >{place}.half && mv {place}.half {place}
echo '{{"updated":1,"retry":0,"failed":[]}}'
""")
    before = site.json("list")
    refused = site.postern("update")
    assert refused.returncode != 0
    assert "test.cld: lacks " in refused.stdout + refused.stderr
    assert site.json("list") == before
    assert (site.update_dir / "offer/test.cld").read_bytes() == cld
    # It is thrown away, and fetched as a whole.
    site.programs = real
    assert site.files(site.update()["generation"]) == {"test.cvd": 6}
