package initproc

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Arguments of an init, after its name. Without any it is one of [Start]'s, without a container around it.
const (
	argProbe    = "--probe"
	argState    = "--state-fd"
	argCgroupV1 = "--cgroup-v1-fds"
	argCgroupV2 = "--cgroup-v2-fds"
)

// commandName is the argument that makes wardend an init.
const commandName = "init"

// options are an init's arguments.
type options struct {
	// probe ends the init at once: it is only to be seen that it can be run.
	probe bool
	// state is the descriptor of the state directory of an init that is process 1 of a container; 0 for one that is
	// not, which is in its state directory already.
	state int
	// v1 are the tasks files of the jobs' cgroups, one for each hierarchy of version 1.
	v1 []int
	// v2 are the directory of the jobs' cgroup of version 2 and its cgroup.procs; or the latter alone.
	v2 []int
}

// contained says whether this is to be process 1 of a container.
func (o options) contained() bool { return o.state != 0 }

func parseOptions(args []string) (o options, err error) {
	for ; len(args) > 0; args = args[1:] {
		name := args[0]
		if name == argProbe {
			o.probe = true
			continue
		}
		if len(args) == 1 {
			return o, fmt.Errorf("argument %q is unknown, or has no value", name)
		}
		args = args[1:]
		switch name {
		case argState:
			o.state, err = parseFD(args[0])
		case argCgroupV1:
			o.v1, err = parseFDs(args[0])
		case argCgroupV2:
			o.v2, err = parseFDs(args[0])
		default:
			err = fmt.Errorf("argument %q is unknown", name)
		}
		if err != nil {
			return o, fmt.Errorf("%s: %w", name, err)
		}
	}
	const mostV2 = 2
	switch {
	case len(o.v1) > 0 && len(o.v2) > 0, len(o.v2) > mostV2:
		return o, fmt.Errorf("%s and %s: too many files", argCgroupV1, argCgroupV2)
	case !o.contained() && len(o.v1)+len(o.v2) > 0:
		return o, fmt.Errorf("%s and %s need %s", argCgroupV1, argCgroupV2, argState)
	}
	return o, nil
}

func parseFDs(list string) ([]int, error) {
	var fds []int
	for text := range strings.SplitSeq(list, ",") {
		fd, err := parseFD(text)
		if err != nil {
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func parseFD(text string) (int, error) {
	fd, err := strconv.ParseUint(text, 10, 31)
	if err != nil || fd <= listenerFD {
		return 0, fmt.Errorf("%q is no file descriptor above %d", text, listenerFD)
	}
	return int(fd), nil //nolint:gosec // of 31 bits
}

// Environment is what an init should be started with: it is Go's settings that keep it small. Of the machine's
// processors one is enough for what it does, and each costs memory. Huge pages would make two megabytes out of a few
// kilobytes. GOGC stays as it is: a collection costs memory too, and the init has one made when it has come to rest.
func Environment() []string { return []string{"GOMAXPROCS=1", "GODEBUG=disablethp=1"} }

// Inherited are the files that an init is started with by somebody else: by an OCI runtime, as process 1 of a container.
type Inherited struct {
	// Control is the listening control socket, and State the state directory.
	Control, State *os.File
	// Log is for the standard output and error of the runtime, which the init gets from it.
	Log *os.File

	more []*os.File
}

// Command gives the files that the init is to have, from descriptor 3 on, and its arguments; program is its path in the
// container. Join are the files by which jobs get into their cgroup, of that cgroup version: 1 are the open `tasks` of
// each hierarchy; 2 are the cgroup's directory and its open `cgroup.procs`; none leaves jobs in the init's cgroups. All
// files remain the caller's, who closes them when the init runs.
func (in *Inherited) Command(program string, join []*os.File, cgroupVersion int) (files []*os.File, args []string) {
	files = []*os.File{in.Control, in.State}
	args = []string{program, commandName, argState, strconv.Itoa(listenerFD + 1)}
	if len(join) == 0 {
		return files, args
	}
	name := argCgroupV1
	if cgroupVersion != 1 {
		name, join = argCgroupV2, in.confine(join)
	}
	first := listenerFD + len(files)
	fds := make([]string, 0, len(join))
	for i := range join {
		fds = append(fds, strconv.Itoa(first+i))
	}
	return append(files, join...), append(args, name, strings.Join(fds, ","))
}

// confine replaces a directory by one that has nothing above it; where the kernel cannot do that it is left out.
func (in *Inherited) confine(join []*os.File) []*os.File {
	const withDirectory = 2
	if len(join) != withDirectory {
		return join
	}
	dir, err := detach(join[0])
	if err != nil {
		return join[1:]
	}
	in.more = append(in.more, dir)
	return []*os.File{dir, join[1]}
}

// detach gives a directory as the root of a mount that is nowhere: a process that has it open, or is in it, comes to
// what is beneath it, but by no `..` to what is above.
func detach(dir *os.File) (*os.File, error) {
	fd, err := unix.OpenTree(int(dir.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, fmt.Errorf("detach %s: %w", dir.Name(), err)
	}
	return os.NewFile(uintptr(fd), dir.Name()), nil
}

// Close closes the files. The init keeps its own.
func (in *Inherited) Close() {
	for _, f := range append([]*os.File{in.Control, in.State, in.Log}, in.more...) {
		if f != nil {
			_ = f.Close()
		}
	}
}
