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
// What else lies in containers/ is said in the log and left alone. A server.json that is damaged or missing is made
// anew: job ids go on well above the highest that the containers' jobs have.
//
// A container whose container.json is damaged is destroyed, even if its init runs. The record is replaced as a whole,
// so that no server's death damages it; a power failure, which ends the processes too, or somebody's hand does. Its
// limits, egress rules, ports and mounts, and whether it had been stopped, are known from nowhere else: kept without
// them, it would run unbounded, and the pool could give its ports to another container, whose
// clients would then talk to this one. Whoever made it finds the handle unknown, and makes it again.
//
// A job's end can be taken once, by Link or Stream:
//
//	running --(main process ends)--> ended --(an answer was written to a client)--> taken
//
// Those that wait when it ends all get it; one whose client is gone takes nothing.
package container
