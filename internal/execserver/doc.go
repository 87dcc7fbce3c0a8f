// Package execserver lets those whom the operator names run commands in a node's instances, with a terminal where they have
// one. It speaks SSH, so that what crosses the network is encrypted, both ends know each other by keys, and `ssh` itself may
// be used in the place of `starter exec`:
//
//	ssh -p PORT INSTANCE-ID@NODE [COMMAND]
//
//	client == SSH == worker -- unix socket, package execwire -- dea-runner session -- the command
//	                   |                                              ^
//	                   +---------------- Warden: Spawn ---------------+
//
// Only sessions are served: no forwarding, no subsystem, no agent. The user's name is the instance's id. What is run is a job of
// the instance's container, as its user and within its limits, and ends with the connection.
//
// # Who is let in
//
// Whose public key stands in the operator's file of authorized keys, in OpenSSH's form, which is read anew for each login. Of its
// options these are known, and a key with any other lets nobody in, as it may have been meant to keep him out:
//
//	apps="ID,ID"             only instances of these apps
//	expiry-time="YYYYMMDD"   until the end of the day before, as with OpenSSH; with HHMM or HHMMSS until then; in UTC
//	no-pty, restrict         no terminal; pty allows it again
//	no-port-forwarding, no-agent-forwarding, no-X11-forwarding, no-user-rc   change nothing: nobody may
//
// An app may do to a session whatever it likes, as both are of one user: what a command shows there is the app's word.
package execserver
