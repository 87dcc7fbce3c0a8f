// Package ociruntime runs containers with an OCI runtime's command line program (crun, runc or another), and knows what
// a container of ours looks like to it.
//
// Which program works on a machine is found out by running a small container, once ([Find]):
//
//	--runtime PATH, or crun, runc --(as it is)--> works
//	                                  |
//	                                  +--(beside v1 hierarchies: with the cgroup v2 mount hidden)--> works
//	                                        |
//	                                        +--> the next program, or *UnusableError
//
// A machine with cgroup v1 often has a cgroup v2 mount beside it that nothing uses, and crun refuses such a "hybrid".
// Hidden means that each run of the program happens in a mount namespace that lacks that mount; the machine's own
// mounts stay as they are.
//
// The life of a container's state, in Options.StateDir:
//
//	(nothing) --Run: records/ID written--> begun --pid known--> running
//	    ^                                    |                     |
//	    +---------------- Delete ------------+---------------------+
//
//	records/ID   that ID was begun here, later with the pid of its process and that process's start time
//	runtime/     what the runtime keeps (its --root)
//	probe/       the container that Find tries
//
// The record is written before the runtime is started and removed after the runtime has forgotten the container, so that
// whoever is killed in between leaves something that the next one finds and deletes. It is locked as long as a process of
// the runtime works at making the container: crun's outlives the program that was started and killed, and would make
// the container after it has been deleted.
//
// # Measuring
//
// The floor of what a container takes is [Runtime.Run] of a bundle with the configuration [Bare]: the same runtime, with
// the same namespaces and nothing else (see BenchmarkRunDelete).
//
// # What is assumed of a runtime
//
// The OCI runtime's command line as runc has it: the global options --root, --log, --log-format json; the commands
//
//	run [--detach] --bundle DIR --pid-file FILE --preserve-fds N ID
//	state ID
//	delete --force ID
//	--version
//
// and that cgroupsPath is a path in each hierarchy (the cgroupfs driver, never systemd's). A runtime's own files are not
// read. One that keeps its containers' kernel to itself (runsc) can hand on file descriptors only as far as it knows
// --preserve-fds; one that does not fails in the probe, with its own words.
package ociruntime
