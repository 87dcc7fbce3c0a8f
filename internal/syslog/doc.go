// Package syslog writes the messages of RFC 5424 as Cloud Foundry's syslog agents do for the lines of an app, so that
// what reads those reads these:
//
//	<14>1 2026-01-02T15:04:05.123456+00:00 org.space.app 5ca1ab1e-... [APP/PROC/WEB/0] - [tags@47450 app_id="..." ...] line
//	 |    when the line came              HOSTNAME       APP-NAME     PROCID          |  STRUCTURED-DATA             MSG
//	 user.info for stdout, user.err (11) for stderr       the app's id         no MSGID
//
// On TCP and TLS each message comes after its length (octet counting, RFC 6587 and 5425), and ends with a line break within
// it: so readers that split at line breaks do as well, as they do with Cloud Foundry. Over UDP a message is a datagram
// (RFC 5426), which is cut at MaxDatagram.
//
// MSG is what the app wrote, byte for byte but for NULs and line breaks. It is never declared to be UTF-8 by a byte order
// mark of ours: nobody has said that it is. A mark that the app wrote goes where the rest of its line is no UTF-8.
//
// There are libraries for these messages. Those that are kept well are parsers first: what they write goes through maps
// and is refused where a field is not as it should be, whereas here all of a message but its time and text is made once,
// and nothing that an app or its owner has named may keep a line from being sent. A parser of somebody else's reads it all
// back in the tests.
package syslog
