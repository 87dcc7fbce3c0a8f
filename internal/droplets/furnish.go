package droplets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/runspec"
)

// frame makes the directories that lead to a layer's home, and the link to the app, as root's. Directories that the
// stack has as well are the same to an instance, which sees the modes of the uppermost: those that every stack's have.
func frame(part, root string) error {
	if err := os.MkdirAll(filepath.Dir(part), 0o755); err != nil {
		return err
	}
	for _, dir := range []struct {
		path string
		mode fs.FileMode
	}{
		{part, 0o700},
		{root, 0o755},
		{runspec.Beneath(root, filepath.Dir(runspec.PathHome)), 0o755},
		{runspec.Beneath(root, runspec.PathHome), 0o755},
	} {
		// The umask takes bits away that the user inside the container needs.
		if err := errors.Join(os.Mkdir(dir.path, dir.mode), os.Chmod(dir.path, dir.mode)); err != nil {
			return err
		}
	}
	return os.Symlink(runspec.PathInstanceApp, runspec.Beneath(root, runspec.PathApp))
}

// furnish adds to an unpacked home what every app finds in it, gives everything to its owner, and counts it.
func furnish(ctx context.Context, home string, owner Owner) (record, error) {
	root, err := os.OpenRoot(home)
	if err != nil {
		return record{}, fmt.Errorf("furnish the layer: %w", err)
	}
	defer root.Close()
	for _, name := range []string{"app", "logs", "tmp"} {
		err := root.Mkdir(name, 0o755)
		if err == nil {
			err = root.Chmod(name, 0o755)
		}
		// What the droplet has in its place, be it a link, is the app's own affair.
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return record{}, fmt.Errorf("furnish the layer: %w", err)
		}
	}
	g := giving{ctx: ctx, owner: owner, linked: map[uint64]bool{}}
	if err := g.entry(root, "."); err != nil {
		return record{}, err
	}
	if err := g.directory(root, 0); err != nil {
		return record{}, err
	}
	return g.found, nil
}

// giving gives a tree to its owner. No link is followed, and nobody else can reach the tree. Modes are what archive made
// them: permissions alone, no set-user-id bits, and directories that their owner can enter.
type giving struct {
	ctx    context.Context
	owner  Owner
	found  record
	linked map[uint64]bool // inodes of files with several names
}

// maxDepth is how many directories may lie in each other; each is held open while it is gone through. An app's package
// has no more.
const maxDepth = 256

// block is what a disk gives out at a time, in bytes.
const block = 4 << 10

func (g *giving) directory(dir *os.Root, depth int) error {
	if depth > maxDepth {
		return &archive.Error{Words: "the droplet has directories that lie too deep: in more than 256", Cause: archive.ErrName}
	}
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return fmt.Errorf("furnish the layer: %w", err)
	}
	for _, entry := range entries {
		if err := g.ctx.Err(); err != nil {
			return err
		}
		if err := g.entry(dir, entry.Name()); err != nil {
			return err
		}
		if !entry.IsDir() {
			continue
		}
		if err := g.within(dir, entry.Name(), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (g *giving) within(dir *os.Root, name string, depth int) error {
	inner, err := dir.OpenRoot(name)
	if err != nil {
		return fmt.Errorf("furnish the layer: %w", err)
	}
	defer inner.Close()
	return g.directory(inner, depth)
}

func (g *giving) entry(dir *os.Root, name string) error {
	info, err := dir.Lstat(name)
	if err == nil {
		err = dir.Lchown(name, int(g.owner.UID), int(g.owner.GID))
	}
	if err != nil {
		return fmt.Errorf("furnish the layer: %w", err)
	}
	g.count(info)
	return nil
}

func (g *giving) count(info fs.FileInfo) {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && !info.IsDir() && stat.Nlink > 1 {
		if g.linked[stat.Ino] {
			return
		}
		g.linked[stat.Ino] = true
	}
	g.found.Entries++
	switch {
	case info.IsDir():
		g.found.Bytes += block
	case info.Mode().IsRegular():
		g.found.Bytes += (info.Size() + block - 1) / block * block
	}
}
