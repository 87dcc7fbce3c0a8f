package stage

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"github.com/durable-dea/dea/internal/runspec"
)

// blameDisk looks whether a phase failed for want of room, and says so: programs hardly ever do, and it is the user
// who can do with less.
func (b *build) blameDisk(phase string, err error) error {
	var f *fault
	if !errors.As(err, &f) || !mayWantRoom(phase, f.Type) {
		return err
	}
	// What is unpacked goes nowhere else; the droplet goes to the node's disk.
	full := phase == runspec.PhaseUnpack && noRoom(err) || b.diskFull()
	blamed := *f
	switch {
	case full:
		blamed.Message += ": " + runspec.WordsDiskFull
		if blamed.Type == runspec.ErrStager {
			blamed.Type = runspec.ErrStaging
		}
	case noRoom(err):
		blamed.Message += ": the node's disk is full"
	}
	return &blamed
}

// mayWantRoom leaves out what has another reason for sure: a package or a Procfile that is refused.
func mayWantRoom(phase string, t runspec.ErrorType) bool {
	return t != runspec.ErrStaging || phase == runspec.PhaseClone
}

func noRoom(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// probeSize is about what a program's failure leaves free at most: room for less than its next write.
const probeSize = 1 << 20

// diskFull tries to write beside the app.
func (b *build) diskFull() bool {
	dir := b.stager.path(runspec.PathStaged)
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Dir(dir)
	}
	probe, err := os.CreateTemp(dir, ".dea-probe-*")
	if err != nil {
		return noRoom(err)
	}
	defer os.Remove(probe.Name())
	data := make([]byte, probeSize)
	_, _ = rand.Read(data) // a disk may compress
	_, err = probe.Write(data)
	if err == nil {
		err = probe.Sync()
	}
	return noRoom(errors.Join(err, probe.Close()))
}
