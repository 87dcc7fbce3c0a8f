package ports

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// Rows are looked for beneath the range that kernels give to outgoing connections, where a port can be taken
	// between the look and the listening.
	firstFree = 12000
	lastFree  = 32000
	// block is what one lock stands for; a longer row takes several.
	block = 500
)

// Free is a row that was found and is kept from other devservers until it is closed.
type Free struct {
	Row
	locks []*os.File
}

// Find looks for a row of free ports, first at the base that is preferred; 0 prefers none. The directory holds the locks
// by which devservers that look at the same time get different rows; it is made if need be.
func Find(directory string, preferred, nodes, instancePorts int) (*Free, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of port locks: %w", err)
	}
	var bases []int
	if preferred != 0 {
		bases = append(bases, preferred)
	}
	for base := firstFree; base < lastFree; base += block {
		bases = append(bases, base)
	}
	for _, base := range bases {
		row, err := NewRow(base, nodes, instancePorts)
		if base == preferred && err != nil {
			continue // there are more nodes than last time
		}
		if err != nil {
			return nil, err
		}
		free, err := take(directory, row)
		if err != nil {
			return nil, err
		}
		if free != nil {
			return free, nil
		}
	}
	return nil, fmt.Errorf("no row of %d free ports between %d and %d", Row{nodes: nodes, instancePorts: instancePorts}.size(),
		firstFree, lastFree)
}

// Close lets others have the row.
func (f *Free) Close() error {
	var failed error
	for _, lock := range f.locks {
		failed = errors.Join(failed, lock.Close())
	}
	return failed
}

// take locks the row's blocks and looks at its ports. It gives nil when somebody else has one of either.
func take(directory string, row Row) (*Free, error) {
	free := &Free{Row: row}
	for start := row.base / block * block; start <= row.end(); start += block {
		lock, err := os.OpenFile(filepath.Join(directory, strconv.Itoa(start)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open a port lock: %w", err), free.Close())
		}
		free.locks = append(free.locks, lock)
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, free.Close()
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", lock.Name(), err), free.Close())
		}
	}
	if row.Check() != nil {
		return nil, free.Close()
	}
	return free, nil
}
