package layers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestOverlayShowsTheContainersOwners(t *testing.T) {
	for way, mark := range ways() {
		t.Run(way, func(t *testing.T) {
			dir := tempDir(t)
			write(t, dir, "stack/etc/passwd", "root")
			write(t, dir, "stack/home/vcap/file", "vcap")
			require.NoError(t, os.Chown(filepath.Join(dir, "stack/home/vcap/file"), 1000, 1000))
			write(t, dir, "stack/beyond", "")
			require.NoError(t, os.Chown(filepath.Join(dir, "stack/beyond"), 70000, 70000))
			o := mark(newOverlay(t, dir, "stack"))
			mount(t, o)

			assert.Equal(t, ids().Host, owner(t, o.Target))
			assert.Equal(t, ids().Host, owner(t, o.Target, "etc/passwd"))
			assert.Equal(t, ids().Host+1000, owner(t, o.Target, "home/vcap/file"))
			assert.EqualValues(t, 65534, owner(t, o.Target, "beyond"), "an id that the container has not is nobody's")
			info, err := os.Stat(o.Target)
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o755), info.Mode().Perm())

			out, err := asContainer(t, 0, o.Target, "id -u; stat -c %u etc/passwd home/vcap/file; echo new > etc/passwd; mkdir d; stat -c %u etc/passwd d .; cat etc/passwd")
			require.NoError(t, err, out)
			assert.Equal(t, "0 0 1000 0 0 0 new", strings.Join(strings.Fields(out), " "))
			out, err = asContainer(t, 1000, o.Target, "echo more >> home/vcap/file; cat home/vcap/file; echo no > etc/shadow")
			require.Error(t, err)
			assert.Contains(t, out, "Permission denied")
			assert.Contains(t, out, "vcapmore")
			assert.Equal(t, ids().Host+1000, owner(t, o.Upper, "home/vcap/file"), "what upper holds is charged to the container's ids")
		})
	}
}

func TestOverlayWritesToUpperOnly(t *testing.T) {
	for way, mark := range ways() {
		t.Run(way, func(t *testing.T) {
			dir := tempDir(t)
			for name, content := range map[string]string{
				"app/app/main": "top", "mid/app/main": "hidden", "mid/lib/so": "mid", "stack/lib/so": "hidden",
				"stack/lib/other": "bottom", "stack/etc/conf": "conf", "stack/dir/a": "a", "stack/dir/b": "b",
			} {
				write(t, dir, name, content)
			}
			o := mark(newOverlay(t, dir, "app", "mid", "stack"))
			before := map[string]map[string]string{}
			for _, layer := range o.Layers {
				before[layer] = snapshot(t, layer)
			}
			mount(t, o)

			assert.Equal(t, "top", read(t, o.Target, "app/main"))
			assert.Equal(t, "mid", read(t, o.Target, "lib/so"))
			assert.Equal(t, "bottom", read(t, o.Target, "lib/other"))

			out, err := asContainer(t, 0, o.Target, `
			echo changed > app/main; rm lib/so; chmod 600 etc/conf; touch -d @1 lib/other
			mv dir renamed; rm -r renamed/a; mkdir lib/so; ln etc/conf hard; sync etc/conf; ls lib`)
			require.NoError(t, err, out)
			assert.Equal(t, "other\nso", out)
			assert.NoFileExists(t, filepath.Join(o.Target, "dir/a"))
			assert.Equal(t, "b", read(t, o.Target, "renamed/b"))
			assert.Equal(t, "changed\n", read(t, o.Upper, "app/main"))
			var whiteout unix.Stat_t
			require.NoError(t, unix.Lstat(filepath.Join(o.Upper, "dir"), &whiteout))
			assert.Equal(t, uint32(unix.S_IFCHR), whiteout.Mode&unix.S_IFMT, "what is removed is hidden by a whiteout")

			require.NoError(t, Unmount(o.Target))
			for _, layer := range o.Layers {
				assert.Equal(t, before[layer], snapshot(t, layer), layer)
			}
		})
	}
}

func TestOverlayMountOptions(t *testing.T) {
	for way, mark := range ways() {
		t.Run(way, func(t *testing.T) {
			dir := tempDir(t)
			write(t, dir, "stack/file", "")
			o := mark(newOverlay(t, dir, "stack"))
			mount(t, o)
			infos, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(o.Target))
			require.NoError(t, err)
			require.Len(t, infos, 1)
			assert.Equal(t, "overlay", infos[0].FSType)
			assert.Equal(t, "wardend", infos[0].Source)
			assert.Empty(t, infos[0].Optional, "private")
			for _, option := range []string{"rw", "nosuid", "nodev"} {
				assert.Contains(t, strings.Split(infos[0].Options, ","), option)
			}
			assert.Regexp(t, "(^|,)(fsync=)?volatile(,|$)", infos[0].VFSOptions)
			assert.Contains(t, strings.Split(infos[0].VFSOptions, ","), "redirect_dir=on")
		})
	}
}

func TestOverlaysShareALayer(t *testing.T) {
	const many = 200
	dir := tempDir(t)
	write(t, dir, "stack/file", "shared")
	before := snapshot(t, filepath.Join(dir, "stack"))
	for i := range uint32(many) {
		own := filepath.Join(dir, fmt.Sprint(i))
		require.NoError(t, os.Mkdir(own, 0o755))
		o := newOverlay(t, own, filepath.Join(dir, "stack"))
		o.IDs.Host += i * o.IDs.Size
		mount(t, o)
		require.NoError(t, os.WriteFile(filepath.Join(o.Target, "file"), []byte(fmt.Sprint(i)), 0o600))
	}
	for i := range uint32(many) {
		target := filepath.Join(dir, fmt.Sprint(i), "rootfs")
		assert.Equal(t, fmt.Sprint(i), read(t, target, "file"))
		assert.Equal(t, ids().Host+i*ids().Size, owner(t, target, "file"))
		require.NoError(t, Unmount(target))
	}
	assert.Equal(t, before, snapshot(t, filepath.Join(dir, "stack")))
	assert.Empty(t, mountsIn(t, dir))
}

func TestOverlayTakesAnyName(t *testing.T) {
	for way, mark := range ways() {
		t.Run(way, func(t *testing.T) {
			dir := filepath.Join(tempDir(t), `a,b:c\d e"f=%41`+"\n\t'\xff", strings.Repeat("long", 60))
			write(t, dir, "layer,with:all/file", "1")
			write(t, dir, `st\ack /file2`, "2")
			o := mark(newOverlay(t, dir, "layer,with:all", `st\ack `))
			mount(t, o)
			assert.Equal(t, "1", read(t, o.Target, "file"))
			assert.Equal(t, "2", read(t, o.Target, "file2"))
			require.NoError(t, Unmount(dir), "by the kernel's list of mounts")
			mounted, err := Mounted(o.Target)
			require.NoError(t, err)
			assert.False(t, mounted)
		})
	}
}

func TestOverlayWithAsManyLayersAsThereMayBe(t *testing.T) {
	for way, mark := range ways() {
		t.Run(way, func(t *testing.T) {
			dir := tempDir(t)
			var list []string
			for i := range MaxLayers {
				write(t, dir, fmt.Sprintf("%d/file-%d", i, i), fmt.Sprint(i))
				write(t, dir, fmt.Sprintf("%d/same", i), fmt.Sprint(i))
				list = append(list, fmt.Sprint(i))
			}
			o := mark(newOverlay(t, dir, list...))
			mount(t, o)
			for i := range MaxLayers {
				assert.Equal(t, fmt.Sprint(i), read(t, o.Target, fmt.Sprintf("file-%d", i)))
			}
			assert.Equal(t, "0", read(t, o.Target, "same"), "the top one wins")

			require.NoError(t, Unmount(o.Target))
			o.Layers = append(o.Layers, dir)
			require.ErrorContains(t, o.Mount(context.Background()), "65 layers")
			o.Layers = nil
			require.ErrorContains(t, o.Mount(context.Background()), "0 layers")
		})
	}
}

func TestOverlayFollowsALinkToALayer(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "real/file", "x")
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "link")))
	o := newOverlay(t, dir, "link")
	mount(t, o)
	assert.Equal(t, "x", read(t, o.Target, "file"))
}

func TestOverlayRefusesLayers(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "stack/inner/file", "x")
	write(t, dir, "file", "")
	require.NoError(t, os.Symlink("stack", filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	other := filepath.Join(dir, "other")
	require.NoError(t, os.Mkdir(other, 0o755))
	write(t, dir, "plain/file", "")
	mounted := newOverlay(t, other, filepath.Join(dir, "plain"))
	mount(t, mounted)

	for name, c := range map[string]struct {
		layers []string
		layer  string
		words  string
		is     error
	}{
		"missing":       {[]string{"none"}, "none", "does not exist", unix.ENOENT},
		"a file":        {[]string{"file"}, "file", "no directory", unix.ENOTDIR},
		"a loop":        {[]string{"loop"}, "loop", "cannot be opened", unix.ELOOP},
		"an overlay":    {[]string{"stack", mounted.Target}, mounted.Target, "(overlay) cannot show its files as a container's on this kernel; copy", unix.EINVAL},
		"proc":          {[]string{"/proc/sys"}, "/proc/sys", "cannot show its files", unix.EINVAL},
		"twice":         {[]string{"stack", "stack"}, "stack", "lies in", unix.ELOOP},
		"twice by link": {[]string{"link", "stack"}, "link", "lies in", unix.ELOOP},
		"one in other":  {[]string{"stack/inner", "stack"}, "stack/inner", "lies in", unix.ELOOP},
		"other in one":  {[]string{"stack", "stack/inner"}, "stack/inner", "lies in", unix.ELOOP},
		"parent":        {[]string{dir}, ".", "what the container writes would lie in it", unix.ELOOP},
		"the root":      {[]string{"stack", "/"}, "/", "what the container writes would lie in it", unix.ELOOP},
		"upper":         {[]string{"upper"}, "upper", "what the container writes would lie in it", unix.ELOOP},
	} {
		t.Run(name, func(t *testing.T) {
			for way, mark := range ways() {
				t.Run(way, func(t *testing.T) {
					o := mark(newOverlay(t, dir, c.layers...))
					err := o.Mount(context.Background())
					var layer *LayerError
					require.ErrorAs(t, err, &layer)
					want := c.layer
					if !filepath.IsAbs(want) {
						want = filepath.Join(dir, want)
					}
					assert.Equal(t, want, layer.Dir)
					require.ErrorIs(t, err, c.is)
					assert.Contains(t, err.Error(), c.words)
					assert.Empty(t, mountsIn(t, o.Target))
					o.Layers = []string{filepath.Join(dir, "stack")}
					mount(t, o) // after an error it can be tried again
					require.NoError(t, Unmount(o.Target))
					require.NoError(t, os.RemoveAll(o.Work))
				})
			}
		})
	}
}

func TestOverlayRefusesWhatIsUsed(t *testing.T) {
	for way, mark := range ways() {
		t.Run(way, func(t *testing.T) {
			dir := tempDir(t)
			write(t, dir, "stack/file", "")
			o := mark(newOverlay(t, dir, "stack"))
			mount(t, o)
			require.ErrorIs(t, o.Mount(context.Background()), ErrMounted)
			assert.Len(t, mountsIn(t, dir), 1)
			write(t, o.Target, "kept", "kept")
			require.NoError(t, os.Chmod(o.Target, 0o700))

			require.NoError(t, Unmount(o.Target))
			require.ErrorIs(t, o.Mount(context.Background()), ErrUsed)
			assert.Empty(t, mountsIn(t, dir))
			o.Again = true
			mount(t, o)
			assert.Equal(t, "kept", read(t, o.Target, "kept"))
			info, err := os.Stat(o.Target)
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o700), info.Mode().Perm(), "what the container chose stays")
		})
	}
}

func TestOverlayRefusesBadDirectories(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "stack/file", "")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "other"), 0o755))
	other := newOverlay(t, filepath.Join(dir, "other"), filepath.Join(dir, "stack"))
	mount(t, other)
	mounts := mountsIn(t, dir)
	good := newOverlay(t, dir, "stack")
	require.NoError(t, os.Symlink("/etc", filepath.Join(dir, "link")))
	for name, change := range map[string]func(*Overlay){
		"target is a link":   func(o *Overlay) { o.Target = filepath.Join(dir, "link") },
		"target's parent":    func(o *Overlay) { o.Target = filepath.Join(dir, "no/no") },
		"target is relative": func(o *Overlay) { o.Target = "rootfs" },
		"upper is a link":    func(o *Overlay) { o.Upper = filepath.Join(dir, "link") },
		"work is a file":     func(o *Overlay) { o.Work = filepath.Join(dir, "stack/file") },
		"other file systems": func(o *Overlay) { o.Work = "/dev/shm/wardend-layers-work"; t.Cleanup(func() { os.RemoveAll(o.Work) }) },
		"no ids":             func(o *Overlay) { o.IDs.Size = 0 },
		"the machine's ids":  func(o *Overlay) { o.IDs.Host = 0 },
		"upper in an overlay": func(o *Overlay) {
			o.Upper, o.Work = filepath.Join(other.Target, "upper"), filepath.Join(other.Target, "work")
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			change(&o)
			err := o.Mount(context.Background())
			require.Error(t, err)
			t.Log(err)
			assert.Equal(t, mounts, mountsIn(t, dir))
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, good.Mount(ctx), context.Canceled)
	assert.Equal(t, mounts, mountsIn(t, dir))
	mount(t, good)
}
