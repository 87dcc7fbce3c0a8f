// Package session runs one command in an instance's container for somebody who sits elsewhere, as sshd would, with a terminal
// where one is asked for. A node's worker speaks for him, by package execwire over a unix socket that the session makes.
//
//	listen -- accepted --> running -- the command ends ---------------------> rest is ended --> Exit
//	   |                      +------ the connection ends, or TERM, or INT ----> all is ended --^
//	   +-- nobody comes: over
//
// The command has the app's environment, as the container's launcher was started with it, and what the scripts of buildpacks
// set up. Nothing of a session stays: processes that it leaves behind are ended with it, also those that have made themselves
// sessions of their own. An app can do to a session whatever it likes, since both are of one user.
package session
