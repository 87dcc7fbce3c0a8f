package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/safename"
)

const (
	// maxKeptLogs bounds the logs of stagings that are over, together and in bytes. The oldest go first.
	maxKeptLogs = 1 << 30
	// maxKeptLog bounds one of them: the runner keeps to a limit of its own, the programs of a build need not.
	maxKeptLog = 256 << 20
)

// keptDir holds the logs of stagings that are over, <task>/staging.log.
func (s *Store) keptDir() string { return filepath.Join(filepath.Dir(s.dir), "staging_logs") }

// KeptLog is the directory with the log of a staging that is over. It may or may not exist.
func (s *Store) KeptLog(task string) string { return filepath.Join(s.keptDir(), safename.Of(task)) }

// KeepLog moves the log of a task's workspace to where it can be read after the staging's end, and removes the logs that
// have been there for lifetime, or are too much. There need be no log. Nobody may write to it any more.
func (s *Store) KeepLog(task string, lifetime time.Duration) error {
	return errors.Join(s.moveLog(task), s.PruneLogs(lifetime))
}

func (s *Store) moveLog(task string) error {
	log := filepath.Join(s.Path(task).Out(), runspec.FileLog)
	info, err := os.Lstat(log)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("keep the log: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("keep the log: %w", ErrNotRegular)
	}
	if info.Size() > maxKeptLog {
		if err := os.Truncate(log, maxKeptLog); err != nil {
			return fmt.Errorf("keep the log: %w", err)
		}
	}
	kept := s.KeptLog(task)
	if err := os.MkdirAll(kept, 0o700); err != nil {
		return fmt.Errorf("keep the log: %w", err)
	}
	to := filepath.Join(kept, runspec.FileLog)
	if err := os.Rename(log, to); err != nil {
		return fmt.Errorf("keep the log: %w", err)
	}
	if err := os.Chmod(to, 0o600); err != nil {
		return fmt.Errorf("keep the log: %w", err)
	}
	return nil
}

// keptLog is a log that is kept: its directory, since when, and its bytes.
type keptLog struct {
	dir   string
	since time.Time
	size  int64
}

// PruneLogs removes the logs of stagings that have been over for lifetime, and the oldest of what is too much.
func (s *Store) PruneLogs(lifetime time.Duration) error {
	logs, err := s.keptLogs()
	if err != nil {
		return err
	}
	slices.SortFunc(logs, func(a, b keptLog) int { return b.since.Compare(a.since) })
	var failed []error
	total := int64(0)
	for _, log := range logs {
		total += log.size
		if total > maxKeptLogs || time.Since(log.since) >= lifetime {
			failed = append(failed, os.RemoveAll(log.dir))
		}
	}
	return errors.Join(failed...)
}

func (s *Store) keptLogs() ([]keptLog, error) {
	entries, err := os.ReadDir(s.keptDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the kept logs: %w", err)
	}
	logs := make([]keptLog, 0, len(entries))
	for _, entry := range entries {
		log := keptLog{dir: filepath.Join(s.keptDir(), entry.Name())}
		// What goes meanwhile needs no removal.
		if info, err := os.Stat(log.dir); err == nil {
			log.since = info.ModTime()
		}
		if info, err := os.Stat(filepath.Join(log.dir, runspec.FileLog)); err == nil {
			log.size = info.Size()
		}
		logs = append(logs, log)
	}
	return logs, nil
}
