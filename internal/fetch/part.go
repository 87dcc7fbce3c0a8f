package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a part that another transfer holds is tried again.
const lockPoll = 50 * time.Millisecond

// part is a file that grows until it is whole. It is locked while it is open: two attempts of one download can run at
// the same time, and must not write into each other's file.
type part struct {
	file *os.File
	path string
	size int64
}

// openPart opens or makes the part at path, waiting for whoever holds it.
func openPart(ctx context.Context, path string) (*part, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the file to download into: %w", err)
		}
		err = lock(ctx, file)
		if err == nil && !isAt(file, path) {
			// Whoever held the lock finished, and moved the file away.
			file.Close()
			continue
		}
		if err != nil {
			file.Close()
			return nil, err
		}
		info, err := file.Stat()
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("open the file to download into: %w", err)
		}
		return &part{file: file, path: path, size: info.Size()}, nil
	}
}

func lock(ctx context.Context, file *os.File) error {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock the file to download into: %w", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
}

func isAt(file *os.File, path string) bool {
	open, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(open, there)
}

// truncate starts the part over.
func (p *part) truncate() error {
	if err := p.file.Truncate(0); err != nil {
		return fmt.Errorf("start the download over: %w", err)
	}
	if _, err := p.file.Seek(0, 0); err != nil {
		return fmt.Errorf("start the download over: %w", err)
	}
	p.size = 0
	return nil
}

func (p *part) validatorPath() string { return p.path + ".version" }

// validator is what the server said to tell the version of the file that the part is of; empty when it said nothing.
func (p *part) validator() string {
	content, err := os.ReadFile(p.validatorPath())
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

func (p *part) setValidator(v string) error {
	if v == "" {
		return p.dropValidator()
	}
	if err := os.WriteFile(p.validatorPath(), []byte(v+"\n"), 0o600); err != nil {
		return fmt.Errorf("note the version of the download: %w", err)
	}
	return nil
}

func (p *part) dropValidator() error {
	if err := os.Remove(p.validatorPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note the version of the download: %w", err)
	}
	return nil
}

// close lets go of the part, which stays.
func (p *part) close() error { return p.file.Close() }

// finish moves the whole part to its place; still locked, so that nobody begins to write into it meanwhile.
func (p *part) finish(to string) error {
	if err := p.dropValidator(); err != nil {
		return err
	}
	// Most of what is downloaded is for a container, whose user is another one.
	if err := p.file.Chmod(0o644); err != nil {
		return fmt.Errorf("move the download into place: %w", err)
	}
	if err := os.Rename(p.path, to); err != nil {
		return fmt.Errorf("move the download into place: %w", err)
	}
	return nil
}

// remove throws the part away.
func (p *part) remove() error {
	return errors.Join(p.dropValidator(), os.Remove(p.path))
}
