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
// An init's current directory is its state directory, and all paths that it uses are relative to it. There lie:
//
//	control      the listening control socket, inherited as file descriptor 3
//	init.json    the pid of the init, with its start time
//	log          what the init has to say
//	jobs/N.job   job N was started; its pid
//	jobs/N.out   its output: records of one byte for the stream, four for the length (big endian), and the data
//	jobs/N.exit  it has ended; its exit status
//
// # In a container
//
// Where [Start] starts an init, that is a process of the same user, and its jobs are too. As process 1 of a container an
// init is started by an OCI runtime, with the files of [Prepare], as the root of the container's user namespace:
//
//	init --state-fd 4 [--cgroup-v1-fds 5,6,... | --cgroup-v2-fds 5,6]
//
// Its state directory lies outside of the container's root, so that what is in it is charged to nobody. The jobs must
// not get there, not even those of the container's root:
//
//   - The init is not dumpable, one of its group ids is another than the rest, and it has capabilities that no job has.
//     Each of these alone has the kernel refuse /proc/1/cwd, /proc/1/fd, /proc/1/mem and tracing.
//   - Nothing that the container's root can write is opened for a job by way of a link of /proc's.
//   - The directory is given to it as the root of a mount that is nowhere, so that no `..` leads from it to the machine.
//   - Should an init be taken over all the same, who drives it believes nothing: files are read without following
//     links and up to their bounds, messages are bounded, and no process of the machine is signalled because of them.
//
// Jobs are in a cgroup of their own from their first instruction, and the init is not in it. On cgroup v1 a thread of the
// init enters the jobs' cgroups and forks them. On v2 a process has all its threads in one cgroup: a job is born in
// another one (CLONE_INTO_CGROUP) where clone3 is allowed, which Docker's seccomp profile does not, and the cgroup is
// delegated; else it is stopped before its first instruction and moved, which costs milliseconds.
//
// While a process is started the init waits for it, and the container's processes can keep it waiting; [Thaw] ends
// that from outside.
//
// Stop is one kill(2) of all processes of the namespace, which nothing outruns.
//
// # Versions
//
// An init says hello with its protocol version when somebody connects. Fields and operations are only ever added, and
// what adds one raises the version: a newer wardend asks an older init only for what its version has. A wardend
// refuses an init that is newer than itself. Version 2 knows the user of a job and the arguments above.
//
// The package imports little, since the init's memory is paid once for each container.
package initproc
