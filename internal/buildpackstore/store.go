package buildpackstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/fetch"
	"github.com/durable-dea/dea/internal/safename"
	"github.com/durable-dea/dea/internal/share"
)

// Sentinels for errors.Is; the other errors of Ensure are those of fetch.Client.Get and of the file system.
var (
	// ErrUnpack: what came is no zip, or one that must not be unpacked. The cause is an *archive.Error.
	ErrUnpack = errors.New("the buildpack cannot be unpacked")
	// ErrNotBuildpack: the zip holds no bin/compile.
	ErrNotBuildpack = errors.New("the zip is no buildpack: it has no program bin/compile")
)

// Store is the buildpacks of a node. It is safe for concurrent use by one process.
type Store struct {
	dir     string
	client  *fetch.Client
	fetches share.Group[string, string]
}

// New is the store beneath a node's base directory. Nothing is made on disk until the first buildpack comes.
func New(baseDir string, client *fetch.Client) *Store {
	return &Store{dir: filepath.Join(baseDir, "admin_buildpacks"), client: client}
}

// Dir is the directory of a buildpack beneath a node's base directory. It is there once Ensure has returned it.
func Dir(baseDir, key string) string {
	return filepath.Join(baseDir, "admin_buildpacks", safename.Of(key))
}

// Ensure fetches and unpacks a buildpack, unless it is here, and returns its directory. Callers that ask for the same
// key at the same time share one download; one whose context ends leaves the others alone.
func (s *Store) Ensure(ctx context.Context, key, url string) (string, error) {
	dir := filepath.Join(s.dir, safename.Of(key))
	if isDir(dir) {
		return dir, nil
	}
	return s.fetches.Do(ctx, key, func(ctx context.Context) (string, error) {
		if isDir(dir) {
			return dir, nil
		}
		return dir, s.fetch(ctx, safename.Of(key), url, dir)
	})
}

func (s *Store) fetch(ctx context.Context, name, url, dir string) error {
	parts := filepath.Join(s.dir, ".parts")
	if err := os.MkdirAll(parts, 0o755); err != nil {
		return fmt.Errorf("make the buildpacks' directory: %w", err)
	}
	zip, fresh := filepath.Join(parts, name+".zip"), filepath.Join(parts, name+".new")
	_, err := s.client.Get(ctx, fetch.Download{URL: url, To: zip, Part: filepath.Join(parts, name+".part")})
	if err != nil {
		return err
	}
	// A process that died may have left a part of the directory.
	err = remove(fresh)
	if err == nil {
		err = unpack(ctx, zip, fresh)
	}
	if err == nil {
		err = os.Rename(fresh, dir)
	}
	if err := errors.Join(err, os.Remove(zip)); err != nil {
		return errors.Join(err, remove(fresh))
	}
	return nil
}

func unpack(ctx context.Context, zip, dir string) error {
	if _, err := archive.UnpackZip(ctx, zip, dir, archive.Options{}); err != nil {
		var refused *archive.Error
		if errors.As(err, &refused) {
			return fmt.Errorf("%w: %w", ErrUnpack, err)
		}
		return fmt.Errorf("unpack the buildpack: %w", err)
	}
	info, err := os.Stat(filepath.Join(dir, "bin", "compile"))
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o100 == 0 {
		return ErrNotBuildpack
	}
	return settle(dir)
}

// settle opens a buildpack to the user of a container, who is not its owner, and writes it to the disk: the name of the
// directory must not outlive its content when the machine loses power.
func settle(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open the buildpack: %w", err)
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("open the buildpack: %w", err)
		}
		if entry.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		file, err := root.Open(name)
		if err != nil {
			return fmt.Errorf("open the buildpack: %w", err)
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return fmt.Errorf("open the buildpack: %w", err)
		}
		mode := info.Mode().Perm() | 0o444
		if entry.IsDir() {
			// So that it can be taken away again.
			mode |= 0o700
		}
		if mode&0o100 != 0 {
			mode |= 0o111
		}
		if err := errors.Join(file.Chmod(mode), file.Sync()); err != nil {
			return fmt.Errorf("settle the buildpack: %w", err)
		}
		return nil
	})
}

// remove takes a directory away that was unpacked by half, whose modes may not allow it.
func remove(dir string) error {
	err := os.RemoveAll(dir)
	if err != nil {
		return fmt.Errorf("remove a half-unpacked buildpack: %w", err)
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
