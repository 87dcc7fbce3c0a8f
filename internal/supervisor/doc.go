// Package supervisor keeps an eye on a node's containers from within its worker: it waits for the end of every
// instance's job, has its health looked at, finds instances again after the worker was away, and removes what nobody owns.
//
// A watch lives as long as the worker does; the Supervise activity only holds the lease that lets the supervisor
// compare Warden's list with the ledger's. It tells workflows of changes and of nothing else:
//
//	StartInstance - Watch --> linked -- job ends --> Done (StartInstance looks at it while it waits for health)
//	                            |
//	                        LookAfter <------------------------------- found, signal "resume" -- Resume
//	                            |                                                                  |
//	                            v                                     ended, signal "exited" <-----+
//	 readiness changes --> looked after -- job ends ----------> signal "exited"                    |
//	 signal "readiness"         |                                               Warden is away, signal "resume":
//	                            +--------- liveness fails ----> signal "unhealthy"       looked for until found
//
// Of exited and unhealthy a workflow hears the first alone, and nothing after it. What cannot be told is told until it is
// heard. Forget ends all of it for one instance, Close for all: a worker that comes back begins with Resume.
//
// Locks are taken in this order: Supervisor.mu, those of the checks, Watch.mu.
package supervisor
