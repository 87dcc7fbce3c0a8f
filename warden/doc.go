// Package warden speaks the Warden protocol: requests and responses in protocol buffers over a unix socket.
//
// Client is the way in for who uses containers. Reader and Write are the framing, which a server shares. The
// messages are in package wardenpb, generated from warden.proto.
//
// A connection handles one request at a time, in order, and only Stream answers more than once:
//
//	client                               server
//	  | -- length CRLF Message CRLF -----> |
//	  | <---- length CRLF Message CRLF --- |   the response, or an Error
//
// There is no way to take a request back but to close its connection, which is what Client does when a context ends.
// The server may then still carry the request out; a job goes on in any case.
package warden

//go:generate buf generate
