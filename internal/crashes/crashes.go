package crashes

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/internal/diskuse"
	"github.com/durable-dea/dea/internal/logtimes"
	"github.com/durable-dea/dea/internal/regular"
	"github.com/durable-dea/dea/internal/rmtree"
	"github.com/durable-dea/dea/internal/safename"
)

// What is kept of a crash: so many files, of each its end, which says why the app crashed. An app may have made any
// number of any size.
const (
	maxLogs = 16
	maxLog  = 8 << 20
)

const (
	// partsDir has what is being made, with this ending, and what is being removed; see rmtree.Hide.
	partsDir   = ".parts"
	newEnding  = ".new"
	recordFile = ".crash.json"
)

// Options say where crashes are kept and for how long.
type Options struct {
	// BaseDir is the node's base directory; the crashes are in crashes beneath it.
	BaseDir string
	// Lifetime is how long a crash is kept; 0 is not at all.
	Lifetime time.Duration
	// Disk is how full the disk may be before the oldest go.
	Disk diskuse.Threshold
	// Log is told of those; nil for nobody.
	Log hclog.Logger
	// Now tells the time; nil for time.Now.
	Now func() time.Time
}

// Store is the crashes of a node. It is safe for concurrent use by one process.
type Store struct {
	options Options
	dir     string
	now     func() time.Time
	// reaping is held by one Reap at a time.
	reaping sync.Mutex
	// mu is held when a crash comes or goes; it guards busy, the unfinished ones that a Keep is at.
	mu   sync.Mutex
	busy map[string]bool
}

// New is the store beneath a node's base directory. Nothing is made on disk until the first crash.
func New(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	return &Store{options: o, dir: filepath.Join(o.BaseDir, "crashes"), now: o.Now, busy: map[string]bool{}}
}

// Crash says whose logs are kept.
type Crash struct {
	InstanceID string `json:"instance_id"`
	AppID      string `json:"app_id"`
	Index      int    `json:"index"`
	// At is when they were kept; Keep sets it.
	At time.Time `json:"at"`
}

// Dir is where what is kept of an instance is, laid out as its home was. It may or may not exist.
func (s *Store) Dir(instance string) string { return filepath.Join(s.dir, safename.Of(instance)) }

// Keep copies the regular files of an instance's log directory, through logs alone, which no link leads out of. The
// earlier crashes of the app go. Where a file cannot be read the others are kept, and it is in the error, as is ctx's end
// where something is left to remove. Of an instance whose logs are kept already it does nothing more.
func (s *Store) Keep(ctx context.Context, crash Crash, logs *os.Root) error {
	// Before, for a full disk may hold what is to make room for this one; after, for the app's earlier ones are not to go
	// before there is this one, and it may be too much for the disk.
	return errors.Join(s.Reap(ctx), s.keep(crash, logs), s.Reap(ctx))
}

func (s *Store) keep(crash Crash, logs *os.Root) error {
	if _, err := readRecord(s.Dir(crash.InstanceID)); err == nil {
		return nil
	}
	part, err := s.begin()
	if err != nil {
		return err
	}
	defer s.end(part)
	if err := os.Mkdir(filepath.Join(part, "logs"), 0o700); err != nil {
		return fmt.Errorf("keep a crash: %w", err)
	}
	partly := copyLogs(logs, filepath.Join(part, "logs"))
	crash.At = s.now()
	record, err := json.Marshal(crash)
	if err == nil {
		err = os.WriteFile(filepath.Join(part, recordFile), record, 0o600)
	}
	if err != nil {
		return errors.Join(partly, fmt.Errorf("keep a crash: %w", err))
	}
	return errors.Join(partly, s.place(part, crash.InstanceID))
}

func (s *Store) parts() string { return filepath.Join(s.dir, partsDir) }

// begin makes a directory that Reap lets be until end.
func (s *Store) begin() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.MkdirAll(s.parts(), 0o755); err != nil {
		return "", fmt.Errorf("keep a crash: %w", err)
	}
	part, err := os.MkdirTemp(s.parts(), "*"+newEnding)
	if err != nil {
		return "", fmt.Errorf("keep a crash: %w", err)
	}
	s.busy[filepath.Base(part)] = true
	return part, nil
}

// end removes what was not placed.
func (s *Store) end(part string) {
	_ = rmtree.All(part) // The next Reap tries again.
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, filepath.Base(part))
}

// place puts what is whole where it is looked for. Of two that keep the same instance at once the first wins.
func (s *Store) place(part, instance string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	target := s.Dir(instance)
	if _, err := readRecord(target); err == nil {
		return nil
	}
	if err := rmtree.Hide(target, s.parts()); err != nil { // without a record: of no use
		return fmt.Errorf("keep a crash: %w", err)
	}
	if err := os.Rename(part, target); err != nil {
		return fmt.Errorf("keep a crash: %w", err)
	}
	return nil
}

func readRecord(dir string) (Crash, error) {
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return Crash{}, err
	}
	var crash Crash
	err = json.Unmarshal(text, &crash)
	return crash, err
}

func copyLogs(logs *os.Root, target string) error {
	dir, err := logs.Open(".")
	if err != nil {
		return fmt.Errorf("read the logs: %w", err)
	}
	entries, err := dir.ReadDir(-1)
	failed := []error{err, dir.Close()}
	slices.SortFunc(entries, func(a, b os.DirEntry) int {
		return cmp.Or(cmp.Compare(rank(a.Name()), rank(b.Name())), cmp.Compare(a.Name(), b.Name()))
	})
	kept := 0
	for _, entry := range entries {
		if !entry.Type().IsRegular() || kept == maxLogs || times[entry.Name()] {
			continue
		}
		kept++
		failed = append(failed, copyOut(logs, entry.Name(), filepath.Join(target, entry.Name())))
	}
	return errors.Join(failed...)
}

// times are the names of files that are of no use as they are: they go with the logs that they are of.
var times = map[string]bool{
	logtimes.Name("stdout.log"): true, logtimes.Name("stdout.log.1"): true,
	logtimes.Name("stderr.log"): true, logtimes.Name("stderr.log.1"): true,
}

// rank has what an app said last come first: it may have made any number of other files.
func rank(name string) int {
	switch name {
	case "stdout.log", "stderr.log":
		return 0
	case "stdout.log.1", "stderr.log.1":
		return 1
	default:
		return 2
	}
}

func copyOut(from *os.Root, name, to string) (err error) {
	source, info, err := regular.Open(from, name)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	offset := max(info.Size()-maxLog, 0)
	if _, err = io.Copy(target, io.NewSectionReader(source, offset, info.Size()-offset)); err != nil {
		return err
	}
	return keepTimes(from, info, offset, target)
}

// keepTimes keeps the times of a log, if it has any, for the copy of its end.
func keepTimes(from *os.Root, log fs.FileInfo, offset int64, copied *os.File) error {
	if rank(log.Name()) > 1 {
		return nil
	}
	index := logtimes.Open(from, strings.TrimSuffix(log.Name(), logtimes.RotatedSuffix), inode(log))
	if index == nil {
		return nil
	}
	defer index.Close()
	info, err := copied.Stat()
	if err != nil {
		return err
	}
	return index.Keep(logtimes.Name(copied.Name()), offset, inode(info))
}

func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}
