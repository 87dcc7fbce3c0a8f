package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/rmtree"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/safename"
)

// ErrNotRegular is returned for a file of out/ that is a link, a directory, a device or a fifo.
var ErrNotRegular = errors.New("not a regular file")

// Store is the staging directory of a node.
type Store struct{ dir string }

// New is the store beneath a node's base directory. Nothing is made on disk until the first Create.
func New(baseDir string) *Store { return &Store{dir: filepath.Join(baseDir, "staging")} }

// Workspace is the directory of one staging task. It may or may not exist.
type Workspace struct{ dir string }

// Path is the workspace of a task, without making it.
func (s *Store) Path(task string) Workspace {
	return Workspace{dir: filepath.Join(s.dir, safename.Of(task))}
}

// Create makes the workspace of a task. What is there already stays.
func (s *Store) Create(task string) (Workspace, error) {
	w := s.Path(task)
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return w, fmt.Errorf("make the staging directory: %w", err)
	}
	// The directory itself is the worker's alone: the container gets in/ and out/ by mounts of their own, and nobody else on
	// the machine may reach files that anybody may write to. In out/ a container can write the files of the contract and
	// make no other, so that Size sees all that it leaves on the node's disk.
	for _, dir := range []struct {
		path string
		mode fs.FileMode
	}{{w.dir, 0o700}, {w.In(), 0o755}, {w.Out(), 0o755}} {
		if err := os.Mkdir(dir.path, dir.mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return w, fmt.Errorf("make the workspace: %w", err)
		}
		// The umask takes bits away that the user inside the container needs.
		if err := os.Chmod(dir.path, dir.mode); err != nil {
			return w, fmt.Errorf("make the workspace: %w", err)
		}
	}
	for _, name := range runspec.OutFiles() {
		if err := w.makeOut(name); err != nil {
			return w, fmt.Errorf("make the workspace: %w", err)
		}
	}
	return w, nil
}

// makeOut makes a file of out/, unless it is there.
func (w Workspace) makeOut(name string) error {
	file, err := os.OpenFile(filepath.Join(w.Out(), name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(file.Chmod(0o666), file.Close())
}

// Remove takes the workspace of a task away, whatever its container left in it. It is no error when there is none.
func (s *Store) Remove(task string) error { return removed(rmtree.All(s.Path(task).dir)) }

func removed(err error) error {
	if err != nil {
		return fmt.Errorf("remove the workspace: %w", err)
	}
	return nil
}

// Dir is the workspace itself.
func (w Workspace) Dir() string { return w.dir }

// In is the directory that the container reads.
func (w Workspace) In() string { return filepath.Join(w.dir, "in") }

// Out is the directory that the container writes.
func (w Workspace) Out() string { return filepath.Join(w.dir, "out") }

// Package is where the app's package goes.
func (w Workspace) Package() string { return filepath.Join(w.In(), runspec.FilePackage) }

// Cache is where the last staging's buildpack cache goes.
func (w Workspace) Cache() string { return filepath.Join(w.In(), runspec.FileCache) }

// Spec is where the runner's orders go.
func (w Workspace) Spec() string { return filepath.Join(w.In(), runspec.FileSpec) }

// Started tells whether the runner has begun in the container.
func (w Workspace) Started() bool {
	info, err := os.Lstat(filepath.Join(w.Out(), runspec.FileStarted))
	return err == nil && info.Size() > 0
}

// begun is there once the build was begun, for the node's own eyes: a container can touch the files of out/.
func (w Workspace) begun() string { return filepath.Join(w.dir, "begun") }

// Begin notes that the build begins now, unless that was noted before.
func (w Workspace) Begin() error {
	file, err := os.OpenFile(w.begun(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("note the build's begin: %w", err)
	}
	return file.Close()
}

// Began is when the build was begun; false when it was not.
func (w Workspace) Began() (time.Time, bool) {
	info, err := os.Lstat(w.begun())
	if err != nil {
		return time.Time{}, false
	}
	return info.ModTime(), true
}

// Result reads what the runner left. It fails with runspec.ErrNoResult where it has not, or not wholly, and with an error
// of another kind for what cannot be read.
func (w Workspace) Result() (runspec.Result, error) {
	file, err := w.OpenOut(runspec.FileResult)
	if errors.Is(err, fs.ErrNotExist) {
		return runspec.Result{}, runspec.ErrNoResult
	}
	if err != nil {
		return runspec.Result{}, err
	}
	defer file.Close()
	return runspec.ReadResult(file)
}

// Size is how many bytes the files of out/ take: on the disk or, where that is more, when they are sent.
func (w Workspace) Size() (int64, error) {
	var size int64
	for _, name := range runspec.OutFiles() {
		var stat unix.Stat_t
		err := unix.Lstat(filepath.Join(w.Out(), name), &stat)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return 0, fmt.Errorf("look at %s: %w", name, err)
		}
		const block = 512 // the unit of st_blocks, whatever the file system's own
		size += max(stat.Blocks*block, stat.Size)
	}
	return size, nil
}

// OpenOut opens a file of out/ for reading. It fails with ErrNotRegular for anything but a regular file, and with
// fs.ErrNotExist when there is none. name must be a single path element.
func (w Workspace) OpenOut(name string) (*os.File, error) {
	path := filepath.Join(w.Out(), filepath.Base(name))
	// O_NONBLOCK: to open a fifo would wait for ever.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("%s: %w", name, ErrNotRegular)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, fmt.Errorf("%s: %w", name, errors.Join(ErrNotRegular, err))
	}
	return file, nil
}

// Leftover are the names of the workspaces that owned does not know; a name is what safename.Of makes of the task.
func (s *Store) Leftover(owned func(name string) bool) ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the workspaces: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && !owned(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// RemoveLeftover is Remove for a name that Leftover gave. It ends early, with ctx's error, when ctx does.
func (s *Store) RemoveLeftover(ctx context.Context, name string) error {
	return removed(rmtree.Until(ctx, filepath.Join(s.dir, name)))
}
