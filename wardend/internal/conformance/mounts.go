package conformance

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

func testReadOnlyMounts(t *testing.T, s Suite) {
	f := s.fixture(t)
	in := openDir(t)
	require.NoError(t, os.Chmod(in, 0o777))
	res, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{BindMounts: []*wardenpb.CreateRequest_BindMount{
		{SrcPath: &in, DstPath: proto.String("/in"), Mode: wardenpb.CreateRequest_BindMount_RO.Enum()},
	}})
	require.NoError(t, err)
	h := res.GetHandle()
	require.NotZero(t, f.run(h, "touch /in/x").GetExitStatus())
	require.NotZero(t, f.privileged(h, "touch /in/x; mount -o remount,rw /in && touch /in/x").GetExitStatus())
	require.NotZero(t, f.run(h, "test -e /in/x").GetExitStatus())
	entries, err := os.ReadDir(in)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// testMountsStayAsFound: making a container writes into none of its mounts, wherever they lie; and it has one name.
func testMountsStayAsFound(t *testing.T, s Suite) {
	f := s.fixture(t)
	etc, home, file := openDir(t), openDir(t), filepath.Join(openDir(t), "hosts")
	for _, path := range []string{filepath.Join(etc, "hosts"), filepath.Join(etc, "hostname"), file} {
		writeFile(t, path, "theirs\n", 0o644)
	}
	mount := func(source, target string) *wardenpb.CreateRequest_BindMount {
		return &wardenpb.CreateRequest_BindMount{SrcPath: &source, DstPath: &target, Mode: wardenpb.CreateRequest_BindMount_RW.Enum()}
	}
	for _, mounts := range [][]*wardenpb.CreateRequest_BindMount{{mount(etc, "/etc"), mount(home, "/home")}, {mount(file, "/etc/hosts")}} {
		res, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{BindMounts: mounts})
		require.NoError(t, err)
		f.destroy(res.GetHandle())
	}
	for _, path := range []string{filepath.Join(etc, "hosts"), filepath.Join(etc, "hostname"), file} {
		require.Equal(t, "theirs\n", readFile(t, path))
	}
	for dir, count := range map[string]int{etc: 2, home: 0} {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, count, dir)
	}
	res, err := f.c.Create(f.ctx, &wardenpb.CreateRequest{Handle: proto.String("blanks / and more")})
	require.NoError(t, err)
	require.Equal(t, "blanks---and-more", f.out(res.GetHandle(), "hostname"))
	require.Equal(t, "blanks---and-more", f.out(res.GetHandle(), "cat /etc/hostname"))
}
