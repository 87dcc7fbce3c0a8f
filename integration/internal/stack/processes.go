package stack

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Process is a running process as /proc shows it.
type Process struct {
	PID int
	// Exe is the path of its program.
	Exe  string
	Args []string
}

// String is for the messages of failed tests.
func (p Process) String() string {
	return fmt.Sprintf("%d %s", p.PID, strings.Join(p.Args, " "))
}

// processesOf finds every process that has to do with a directory: it names it on its command line, works in it, or
// its program lies there. This process is never among them, nor is one that has ended and only waits to be reaped.
func processesOf(dir string) ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// A process may end between any two of these looks; what cannot be read is not there any more.
		if p, belongs := inspect(pid, dir); belongs {
			found = append(found, p)
		}
	}
	return found, nil
}

func inspect(pid int, dir string) (Process, bool) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	line, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil || len(line) == 0 {
		return Process{}, false
	}
	p := Process{PID: pid}
	for _, arg := range bytes.Split(bytes.TrimRight(line, "\x00"), []byte{0}) {
		p.Args = append(p.Args, string(arg))
	}
	p.Exe, _ = os.Readlink(filepath.Join(proc, "exe"))
	cwd, _ := os.Readlink(filepath.Join(proc, "cwd"))
	return p, bytes.Contains(line, []byte(dir)) || within(p.Exe, dir) || within(cwd, dir)
}

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// socket is a listening TCP socket. Its inode tells it from one that another program opens on the port later.
type socket struct {
	port  int
	inode string
}

// listening are the TCP sockets of this machine that listen on a port from first to last.
func listening(first, last int) ([]socket, error) {
	var sockets []socket
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		content, err := os.ReadFile(table)
		if os.IsNotExist(err) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("list listening ports: %w", err)
		}
		for line := range strings.Lines(string(content)) {
			if s, ok := listener(line); ok && s.port >= first && s.port <= last {
				sockets = append(sockets, s)
			}
		}
	}
	return sockets, nil
}

// listener reads a line of /proc/net/tcp: "0: 0100007F:1C41 00000000:0000 0A … inode"; state 0A is LISTEN.
func listener(line string) (socket, bool) {
	const (
		listen = "0A"
		inode  = 9
	)
	fields := strings.Fields(line)
	if len(fields) <= inode || fields[3] != listen {
		return socket{}, false
	}
	_, port, ok := strings.Cut(fields[1], ":")
	if !ok {
		return socket{}, false
	}
	number, err := strconv.ParseUint(port, 16, 16)
	return socket{int(number), fields[inode]}, err == nil
}
