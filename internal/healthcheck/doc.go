// Package healthcheck looks at instances from outside: at their port, by a request, at a file that they write. No look
// asks Warden for anything.
//
// A Probe is one look. A Scheduler makes the looks of a whole node, and speaks of changes alone:
//
//	Add --> live, ready -- Threshold failed readiness looks --> unready -- one that succeeds --> ready
//	             |                                                 |
//	             +------ Threshold failed liveness looks ----------+--> Unhealthy, and no look any more
//
// Whether one is ready that is added unready is looked at right away, and soon again until it is. An instance between two
// looks costs an entry in a heap, no goroutine and no timer.
package healthcheck
