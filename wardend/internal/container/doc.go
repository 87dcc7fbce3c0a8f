// Package container is what a Warden server knows: its containers with their states, jobs, limits, ports and events.
// It answers the protocol's requests, whatever the kind of container; package backend's implementations do what
// differs. All of it is written down at each change, so that the next server on the same depot goes on with it.
//
//	           Create                Stop, init lost
//	(nothing) --------> active -----------------------> stopped
//	    ^                 |                                |
//	    +---- Destroy, or the grace time is over ---------+
//
// A depot:
//
//	lock                         held by the server that serves the depot
//	server.json                  the backend's name, and how far job ids may have been given out
//	containers/<name>/           one container; the name is its handle where that is a safe one
//	containers/<name>/container.json
//
// A job's end can be taken once, by Link or Stream:
//
//	running --(main process ends)--> ended --(an answer was written to a client)--> taken
//
// Those that wait when it ends all get it; one whose client is gone takes nothing.
package container
