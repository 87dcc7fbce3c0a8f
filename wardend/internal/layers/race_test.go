package layers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestManyAtOnce mounts, binds and unmounts in parallel, as a busy server does.
func TestManyAtOnce(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "stack/dir/file", "x")
	write(t, dir, "source/file", "y")
	var all sync.WaitGroup
	for worker := range 4 {
		own := filepath.Join(dir, fmt.Sprint(worker))
		require.NoError(t, os.Mkdir(own, 0o755))
		o := newOverlay(t, own, filepath.Join(dir, "stack"))
		o.attached = worker == 0
		all.Go(func() { assert.NoError(t, mountAndUnmount(t.Context(), o, filepath.Join(dir, "source"))) })
	}
	all.Wait()
	assert.Empty(t, mountsIn(t, dir))
	assert.Equal(t, "y", read(t, dir, "source/file"))
}

func mountAndUnmount(ctx context.Context, o Overlay, source string) error {
	for range 20 {
		err := o.Mount(ctx)
		for target := range 5 {
			bind := Bind{Source: source, Target: fmt.Sprintf("dir/../new%d/x/../y", target)}
			err = errors.Join(err, MountBind(o.Target, o.IDs, bind))
		}
		// Two that destroy the same container do not disturb each other.
		other := make(chan error)
		go func() { other <- Unmount(o.Target) }()
		err = errors.Join(err, Unmount(o.Target), <-other, os.RemoveAll(o.Upper), os.RemoveAll(o.Work))
		if err != nil {
			return err
		}
	}
	return nil
}

// TestBindWhileLinksChange has a directory on the way become a link out of the
// tree and back, as fast as can be, while binds are made.
func TestBindWhileLinksChange(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "source/file", "x")
	write(t, dir, "outside/a/b/c/file", "x")
	o := newTree(t, dir)
	for _, name := range []string{"a/b/c", "aside"} {
		require.NoError(t, os.MkdirAll(filepath.Join(o.Target, name), 0o755))
	}
	links := []string{filepath.Join(dir, "outside/a"), "../../../../../../../../" + filepath.Join(dir, "outside/a"), "/", "a/../.."}
	before := mountsIn(t, "/")
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			link := filepath.Join(o.Target, "link")
			_ = os.Remove(link)
			err := os.Symlink(links[i%len(links)], link)
			for range 2 {
				err = errors.Join(err, unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, filepath.Join(o.Target, "a"), unix.RENAME_EXCHANGE))
			}
			assert.NoError(t, err)
		}
	})
	done, refused := 0, 0
	for range 2000 {
		err := MountBind(o.Target, o.IDs, Bind{Source: filepath.Join(dir, "source"), Target: "/a/b/c"})
		if err == nil {
			done++
		} else {
			refused++
		}
	}
	close(stop)
	swapping.Wait()
	t.Log(done, "mounted,", refused, "refused")
	require.NotZero(t, done)
	for _, at := range mountsIn(t, "/") {
		assert.True(t, strings.HasPrefix(at, o.Target+"/") || slices.Contains(before, at), at)
	}
	assert.Empty(t, mountsIn(t, filepath.Join(dir, "outside")))
}

// TestBindInRandomTrees binds at random paths of trees of random links.
func TestBindInRandomTrees(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "source/file", "x")
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "c", "..", ".", "etc"}
	path := func(length int) string {
		parts := make([]string, 1+random.IntN(length))
		for i := range parts {
			parts[i] = names[random.IntN(len(names))]
		}
		return strings.Repeat("/", random.IntN(2)) + strings.Join(parts, "/")
	}
	o := newTree(t, dir)
	done := 0
	for range 300 {
		for range random.IntN(3) {
			inside := filepath.Join(o.Target, filepath.Clean("/"+path(2)))
			// Only names without links on the way, since this goes by the machine's root.
			if parent, err := filepath.EvalSymlinks(filepath.Dir(inside)); err != nil || parent != filepath.Dir(inside) {
				continue
			}
			_ = os.Symlink(path(5), inside)
		}
		before := mountsIn(t, "/")
		err := MountBind(o.Target, o.IDs, Bind{Source: filepath.Join(dir, "source"), Target: path(5)})
		after := mountsIn(t, "/")
		if err != nil {
			assert.Equal(t, before, after)
			continue
		}
		done++
		require.Len(t, after, len(before)+1)
		at := after[len(after)-1]
		assert.True(t, strings.HasPrefix(at, o.Target+"/"), at)
		require.NoError(t, unix.Unmount(at, unix.UMOUNT_NOFOLLOW))
	}
	t.Log(done, "of 300 mounted")
	assert.NotZero(t, done)
	assert.Equal(t, []string{filepath.Join(dir, "source"), filepath.Join(dir, "source/file")}, slices.Sorted(maps.Keys(snapshot(t, filepath.Join(dir, "source")))))
}
