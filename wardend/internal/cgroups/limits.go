package cgroups

import (
	"errors"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/backend"
)

// Bounds and defaults of the kernel, v1's shares and v2's weight.
const (
	minShares     = 2
	maxShares     = 262144
	defaultShares = 1024
	minWeight     = 1
	maxWeight     = 10000
	defaultWeight = 100
)

// SetCPUShares sets the container's share of the CPUs when these are busy, relative to the other containers of the
// instance: 2 to 262144, beyond that the nearest of these, by default 1024. It is set on what holds app and init:
// groups compete with their siblings only, and those of app are no other containers'.
func (g *Group) SetCPUShares(shares uint64) error {
	root := g.m.roots[cpuController]
	if root == "" {
		return nil
	}
	shares = min(max(shares, minShares), maxShares)
	if g.m.version == 1 {
		return write(filepath.Join(g.container(root), "cpu.shares"), strconv.FormatUint(shares, 10))
	}
	return write(filepath.Join(g.container(root), "cpu.weight"), strconv.FormatUint(weight(shares), 10))
}

// weight converts v1's shares to v2's weight: the parabola in the logarithms that goes through the least, the default
// and the most of both. It is what crun (1.23) and runc (1.3.2) have used since 2025. Their older formula, a straight
// line between the ends, made the default 1024 a weight of 39: less than half of what any other group of the machine
// has. What v1's shares would keep and this does not is the ratio of two containers: 2048 and 1024 become 174 and 100.
func weight(shares uint64) uint64 {
	switch {
	case shares <= minShares:
		return minWeight
	case shares >= maxShares:
		return maxWeight
	}
	l := math.Log2(float64(shares))
	exponent := (l*l+125*l)/612.0 - 7.0/34.0 //nolint:mnd // exactly 0, 2 and 4 for 2, 1024 and 262144
	return uint64(math.Ceil(math.Pow(10, exponent)))
}

// SetPids sets how many processes and threads there may be in the group at most; 0 is no limit.
func (g *Group) SetPids(limit uint64) error {
	file, ok := g.file(pidsController, "pids.max")
	if !ok {
		return nil
	}
	value := "max"
	if limit > 0 {
		value = strconv.FormatUint(limit, 10)
	}
	return write(file, value)
}

// SetMemory sets how much memory the group may use in bytes, swap included where the kernel counts it;
// backend.UnlimitedMemory or more is no limit. Lowered below what is in use it makes the kernel reclaim; what cannot
// be had back is a *MemoryInUseError, and the old limit holds. Processes are not killed for it.
func (g *Group) SetMemory(bytes uint64) error {
	file, ok := g.file(memoryController, "")
	if !ok {
		return nil
	}
	if g.m.version != 1 {
		return setMemoryV2(file, bytes)
	}
	if err := setMemoryV1(file, bytes); err != nil {
		return err
	}
	return setSocketsV1(file, bytes)
}

// reclaims is how often reclaiming is tried. Each time the kernel itself tries sixteen times.
const reclaims = 3

func setMemoryV1(dir string, bytes uint64) error {
	memory, memsw := filepath.Join(dir, "memory.limit_in_bytes"), filepath.Join(dir, "memory.memsw.limit_in_bytes")
	old, err := readNumber(memory, backend.UnlimitedMemory)
	if err != nil {
		return err
	}
	both, err := readNumber(memsw, backend.UnlimitedMemory)
	if errors.Is(err, fs.ErrNotExist) {
		// The kernel does not count swap.
		return limitV1(dir, memory, bytes)
	}
	if err != nil {
		return err
	}
	// The kernel refuses a limit of memory above that of memory and swap, also in between.
	if bytes >= both {
		if err := limitV1(dir, memsw, bytes); err != nil {
			return err
		}
		return limitV1(dir, memory, bytes)
	}
	if err := limitV1(dir, memory, bytes); err != nil {
		return err
	}
	if err := limitV1(dir, memsw, bytes); err != nil {
		return errors.Join(err, write(memory, limitWord(old, "-1")))
	}
	return nil
}

// socketsPart is the part of the memory limit that the buffers of TCP and UDP may have besides.
const socketsPart = 4

// setSocketsV1 bounds what sockets of TCP and UDP hold. On v1 that does not count as memory (on v2 it does), and only
// sockets made after there is a bound are counted at all. Without one a container's sockets may take all
// that net.ipv4.tcp_mem lets the machine have, however small its memory limit is, and the sockets of everybody else
// get next to nothing. At the bound the kernel slows the sockets down, and kills no process. Each still gets a segment
// of up to 64 KiB for each direction, so that thousands of them go beyond the bound; what a socket itself takes is part
// of the memory.
//
// Kernels that have no such bound any more, or were built without, are left as they are. So is a bound that is above
// what is in use: buffers cannot be had back.
func setSocketsV1(dir string, bytes uint64) error {
	word := limitWord(bytes, "-1")
	if bytes < backend.UnlimitedMemory {
		word = strconv.FormatUint(bytes/socketsPart, 10)
	}
	err := write(filepath.Join(dir, "memory.kmem.tcp.limit_in_bytes"), word)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EBUSY) {
		return nil
	}
	return err
}

// limitV1 writes a limit, and makes room if the kernel says that there is too much.
func limitV1(dir, file string, bytes uint64) error {
	var err error
	for range reclaims {
		if err = write(file, limitWord(bytes, "-1")); !errors.Is(err, unix.EBUSY) {
			return err
		}
		if empty := write(filepath.Join(dir, "memory.force_empty"), "0"); empty != nil && !gone(empty) {
			break
		}
	}
	usage, _ := readNumber(filepath.Join(dir, "memory.usage_in_bytes"), 0)
	return &MemoryInUseError{Limit: bytes, Usage: usage, Err: err}
}

func limitWord(bytes uint64, unlimited string) string {
	if bytes >= backend.UnlimitedMemory {
		return unlimited
	}
	return strconv.FormatUint(bytes, 10)
}

// setMemoryV2 reclaims by itself before it lowers the limit, since v2 kills for a limit below the use where v1 says
// EBUSY. memory.oom.group stays off: v1 has nothing like it, and what is left after a kill is ended by the backend.
func setMemoryV2(dir string, bytes uint64) error {
	if err := reclaim(dir, bytes); err != nil {
		return err
	}
	swap := "0"
	if bytes >= backend.UnlimitedMemory {
		swap = "max"
	}
	if err := write(filepath.Join(dir, "memory.swap.max"), swap); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return write(filepath.Join(dir, "memory.max"), limitWord(bytes, "max"))
}

func reclaim(dir string, bytes uint64) error {
	var answer error
	for range reclaims {
		usage, err := readNumber(filepath.Join(dir, "memory.current"), 0)
		if err != nil || usage <= bytes {
			return err
		}
		// EAGAIN: less than that could be had. The next round tells whether it was enough.
		answer = write(filepath.Join(dir, "memory.reclaim"), strconv.FormatUint(usage-bytes, 10))
		if answer != nil && !errors.Is(answer, unix.EAGAIN) {
			break
		}
	}
	usage, err := readNumber(filepath.Join(dir, "memory.current"), 0)
	if err != nil || usage <= bytes {
		return err
	}
	return &MemoryInUseError{Limit: bytes, Usage: usage, Err: answer}
}
