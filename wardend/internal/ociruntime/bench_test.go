package ociruntime

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/idmap"
)

// BenchmarkRunDelete is what a runtime takes for a container of ours, and for a bare one with the same namespaces, which
// is the floor: medians of Run, and of Delete of one that lives.
func BenchmarkRunDelete(b *testing.B) {
	for _, name := range runtimes() {
		b.Run(name, func(b *testing.B) {
			r := find(b, name)
			b.Run("ours", func(b *testing.B) { runDelete(b, r, container(b, r, "wait")) })
			b.Run("bare", func(b *testing.B) { runDelete(b, r, bare(b, r)) })
		})
	}
}

func runDelete(b *testing.B, r *Runtime, run Run) {
	b.Helper()
	var runs, deletes []time.Duration
	for b.Loop() {
		began := time.Now()
		_, err := r.Run(b.Context(), run)
		require.NoError(b, err)
		ran := time.Now()
		require.NoError(b, r.Delete(b.Context(), run.ID))
		runs = append(runs, ran.Sub(began))
		deletes = append(deletes, time.Since(ran))
	}
	for unit, all := range map[string][]time.Duration{"run-ms": runs, "delete-ms": deletes} {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2])/float64(time.Millisecond), unit)
	}
}

func bare(t testing.TB, r *Runtime) Run {
	t.Helper()
	run := container(t, r, "wait")
	root := filepath.Join(run.Bundle, "rootfs")
	var stat unix.Stat_t
	require.NoError(t, unix.Stat(root, &stat))
	require.NoError(t, r.WriteBundle(run.Bundle, Bare(Container{
		ID: run.ID, Root: root, Args: []string{"/init", "wait"}, IDs: idmap.Range{Host: stat.Uid, Size: 65536},
		CgroupPath: cgroupPath(run.ID),
	})))
	return run
}

// BenchmarkSpec is what a container's configuration takes, to the file.
func BenchmarkSpec(b *testing.B) {
	dir := b.TempDir()
	r := &Runtime{filter: make([]byte, 8000)} // about as long as a real one
	for b.Loop() {
		spec, err := Spec(Container{ID: "x", Root: "/x", Args: []string{"/x"}, IDs: farIDs, CgroupPath: "/x"})
		require.NoError(b, err)
		require.NoError(b, r.WriteBundle(dir, spec))
	}
}

// BenchmarkHide is what it takes to hide the cgroup v2 mount from one run.
func BenchmarkHide(b *testing.B) {
	needRoot(b)
	hide, err := leftovers()
	require.NoError(b, err)
	if len(hide) == 0 {
		b.Skip("nothing to hide")
	}
	for b.Loop() {
		require.NoError(b, onThread(hide, func() error { return nil }))
	}
}
