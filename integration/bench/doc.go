// Command bench measures Durable DEA on this machine and writes what it finds to docs/benchmarks.json: `make bench`. It
// starts a stack of its own from bin/, and its figures are only worth something on a machine that does nothing else.
//
// Each row has a floor from the same run: what the same work takes without the platform, or what Temporal takes for a
// part of it. A bar that is missed is said, and is no failure: a measurement is not a test.
//
//	push of hello …           from the zip in hand to RUNNING.
//	                          Floor: by hand: unzip, go install, tar, checksum, untar, start, wait for the port; with a build
//	                          cache in the same state, cold or warm.
//	empty activity            from one activity's schedule to the next one's, on another task queue.
//	                          Floor: a workflow update, which is one workflow task: an activity has that and its own task.
//	workflow update           sent, validated, carried out and answered.
//	                          Floor: a query, which takes the same way and keeps nothing.
//	activities of 300 …       300 workflows of five activities each, all started at once.
//	                          Floor: one such activity after another.
package main
