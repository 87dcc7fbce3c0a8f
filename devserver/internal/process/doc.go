// Package process keeps the processes of a devserver running: it starts them, starts again what died, and ends them.
//
//	Start --> running -- Stop: TERM, after the grace KILL --> ended
//	            ^  |
//	            |  | ended unasked: told to OnExit
//	            |  v
//	            paused (a second, doubling while it keeps dying; for ever without Restart)
//
// A process ends with this one, however this one ends: the kernel kills it (PDEATHSIG). Kernels count the thread that
// started a process as its parent, so all are started by one thread that lives as long as the Spawner.
package process
