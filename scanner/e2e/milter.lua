-- SPDX-License-Identifier: GPL-2.0-only
-- What an MTA of milter protocol VERSION says, by miltertest: -D SOCKET=... -D VERSION=n
-- -D ACTIONS=n -D STEPS=n -D EICAR=text

conn = mt.connect(SOCKET)
if conn == nil then error("no connection") end
-- What its manual calls the actions are the steps, and the other way round (miltertest 1.6.0).
if mt.negotiate(conn, tonumber(VERSION), tonumber(STEPS), tonumber(ACTIONS)) ~= nil then
	error("negotiate")
end
if mt.conninfo(conn, "mail.client.test", "192.0.2.1") ~= nil then error("conninfo") end
if mt.helo(conn, "mail.client.test") ~= nil then error("helo") end

local function ok(what, problem)
	if problem ~= nil then error(what .. ": " .. problem) end
end

local function envelope(id)
	ok("macro", mt.macro(conn, SMFIC_MAIL, "i", "Q" .. id, "{auth_authen}", "jo"))
	ok("mail", mt.mailfrom(conn, "<a@client.test>", "SIZE=1000", "RET=HDRS"))
	if mt.getreply(conn) ~= SMFIR_CONTINUE then error("mail is not continued") end
	ok("rcpt", mt.rcptto(conn, "<user@lab.test>", "NOTIFY=NEVER"))
	if mt.test_option(conn, SMFIP_NODATA) == false then
		ok("data", mt.data(conn))
	end
	ok("header", mt.header(conn, "From", " a@client.test"))
	ok("header", mt.header(conn, "Message-Id", " <" .. id .. "@client.test>"))
	ok("header", mt.header(conn, "Subject", " " .. id))
	ok("header", mt.header(conn, "X-Postern", " clean"))
end

local function content(text)
	ok("eoh", mt.eoh(conn))
	ok("body", mt.bodystring(conn, text .. "\r\n"))
	ok("eom", mt.eom(conn))
end

-- clean: accepted; a mark of somebody else is taken away, ours added
envelope("lua.clean." .. VERSION)
content("hello")
if mt.getreply(conn) ~= SMFIR_ACCEPT then error("clean mail is not accepted") end
if not mt.eom_check(conn, MT_HDRADD, "X-Postern") then error("no header added") end
if not mt.eom_check(conn, MT_HDRDELETE, "X-Postern") then error("a forged header stays") end

-- given up after the headers, and after a piece of the body
envelope("lua.gone." .. VERSION)
ok("abort", mt.abort(conn))
envelope("lua.gone." .. VERSION)
ok("eoh", mt.eoh(conn))
ok("body", mt.bodystring(conn, EICAR))
ok("abort", mt.abort(conn))

-- infected: 550
envelope("lua.bad." .. VERSION)
content(EICAR)
if mt.getreply(conn) ~= SMFIR_REPLYCODE then error("infected mail is not refused") end

-- and the connection goes on
envelope("lua.again." .. VERSION)
content("hello again")
if mt.getreply(conn) ~= SMFIR_ACCEPT then error("the next is not accepted") end
mt.disconnect(conn)
