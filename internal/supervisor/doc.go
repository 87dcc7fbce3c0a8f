// Package supervisor keeps an eye on a node's containers from within its worker: it waits for the end of every
// instance's job, finds instances again after the worker was away, and removes what nobody owns.
//
// A watch lives as long as the worker does; the Supervise activity only holds the lease that lets the supervisor
// compare Warden's list with the ledger's. It tells workflows of changes and of nothing else:
//
//	LaunchInstance - Watch --> linked -- job ends --> Done (LaunchInstance looks at it while it waits for health)
//	                             |                      |
//	                             +--- Report -----------+--> signal "exited" to the instance's workflow
package supervisor
