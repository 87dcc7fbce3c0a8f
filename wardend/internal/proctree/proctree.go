// Package proctree reads from /proc which processes descend from another and what they use.
//
// What it says is old as soon as it is said: processes come and go meanwhile. Callers that end processes go round
// until nothing is left.
package proctree

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// ErrGone: there is no such process any more.
var ErrGone = errors.New("process is gone")

// Stat is what a process has used.
type Stat struct {
	PID, Parent int
	// State is the kernel's letter; Z is a process that has ended and waits for its parent.
	State byte
	// User and System are the process's own CPU time, ChildUser and ChildSystem that of the children it has waited
	// for, all in ticks of USER_HZ.
	User, System, ChildUser, ChildSystem uint64
	// MinorFaults and MajorFaults are the process's own.
	MinorFaults, MajorFaults uint64
	// Start is the time of its start in ticks since boot: with PID it names the process.
	Start uint64
	// RSSPages is resident memory in pages.
	RSSPages uint64
}

// Fields of /proc/PID/stat after the command's closing parenthesis, counted from 0.
const (
	fieldState   = 0
	fieldParent  = 1
	fieldMinFlt  = 7
	fieldMajFlt  = 9
	fieldUTime   = 11
	fieldSTime   = 12
	fieldCUTime  = 13
	fieldCSTime  = 14
	fieldStart   = 19
	fieldRSS     = 21
	fieldsNeeded = 22
)

// Read reads a process's Stat. It fails with ErrGone when there is none.
func Read(pid int) (Stat, error) {
	raw, err := os.ReadFile(proc(pid, "stat"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return Stat{}, fmt.Errorf("%w: %w", ErrGone, err)
	}
	if err != nil {
		return Stat{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	return parse(pid, raw)
}

func parse(pid int, raw []byte) (Stat, error) {
	// The command may hold blanks and parentheses itself.
	end := bytes.LastIndexByte(raw, ')')
	if end < 0 {
		return Stat{}, fmt.Errorf("stat of process %d cannot be read", pid)
	}
	fields := strings.Fields(string(raw[end+1:]))
	if len(fields) < fieldsNeeded || len(fields[fieldState]) != 1 {
		return Stat{}, fmt.Errorf("stat of process %d cannot be read", pid)
	}
	number := func(i int) uint64 {
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return Stat{
		PID: pid, Parent: int(number(fieldParent)), State: fields[fieldState][0], //nolint:gosec // pids are small
		User: number(fieldUTime), System: number(fieldSTime), ChildUser: number(fieldCUTime), ChildSystem: number(fieldCSTime),
		MinorFaults: number(fieldMinFlt), MajorFaults: number(fieldMajFlt),
		Start: number(fieldStart), RSSPages: number(fieldRSS),
	}, nil
}

// Descendants are all processes beneath pid, without itself, parents before their children.
func Descendants(pid int) ([]int, error) {
	if _, err := os.Stat(proc(pid, "task", strconv.Itoa(pid), "children")); err != nil {
		return scan(pid)
	}
	var all []int
	seen := map[int]bool{pid: true}
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		for _, child := range children(queue[0]) {
			if !seen[child] {
				seen[child] = true
				all = append(all, child)
				queue = append(queue, child)
			}
		}
	}
	return all, nil
}

// children reads the children of all threads of a process; a process that is gone has none.
func children(pid int) []int {
	tasks, err := os.ReadDir(proc(pid, "task"))
	if err != nil {
		return nil
	}
	var pids []int
	for _, task := range tasks {
		raw, err := os.ReadFile(proc(pid, "task", task.Name(), "children"))
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(raw)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// scan finds descendants where the kernel does not list children.
func scan(pid int) ([]int, error) {
	pids, err := All()
	if err != nil {
		return nil, err
	}
	byParent := map[int][]int{}
	for _, p := range pids {
		if stat, err := Read(p); err == nil {
			byParent[stat.Parent] = append(byParent[stat.Parent], p)
		}
	}
	var all []int
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		all = append(all, byParent[queue[0]]...)
		queue = append(queue, byParent[queue[0]]...)
	}
	return all, nil
}

// All are the processes of this pid namespace.
func All() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Environ is the environment that a process was started with; nil where it cannot be read.
func Environ(pid int) []string {
	raw, err := os.ReadFile(proc(pid, "environ"))
	if err != nil || len(raw) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
}

func proc(pid int, parts ...string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + strings.Join(parts, "/")
}
