// Package initproc is the small process that each container has, and the way to drive it.
//
// It runs the container's jobs, keeps their output, reaps every process that is left behind and writes down each exit
// status. It is no child of wardend's that matters: wardend may end, be killed or be replaced by a newer release, and
// the next one connects again and finds all of it.
//
//	wardend --- control socket (JSON, one value a line) ---> init --- fork, exec ---> bash (job 7)
//	   |                                                       |                 \--> bash (job 8)
//	   +--- reads jobs/7.out, jobs/7.exit  <--- writes --------+
//
// An init's current directory is its state directory, and all paths that it uses are relative to it, so that the same
// init can later be process 1 of a container with another root. There lie:
//
//	control      the listening control socket, inherited as file descriptor 3
//	init.json    the pid of the init, with its start time
//	log          what the init has to say
//	jobs/N.job   job N was started; its pid
//	jobs/N.out   its output: records of one byte for the stream, four for the length (big endian), and the data
//	jobs/N.exit  it has ended; its exit status
//
// # Versions
//
// An init says hello with its protocol version when somebody connects. Fields and operations are only ever added, and
// what adds one raises the version: a newer wardend asks an older init only for what its version has. A wardend
// refuses an init that is newer than itself.
//
// The package imports little, since the init's memory is paid once for each container.
package initproc
