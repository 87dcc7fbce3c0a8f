package ociruntime

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/proctree"
)

func TestDelete(t *testing.T) {
	for _, name := range runtimes() {
		t.Run(name, func(t *testing.T) {
			r := find(t, name)
			require.NoError(t, r.Delete(t.Context(), "unknown"))
			t.Run("one that lives", func(t *testing.T) {
				run := container(t, r, "wait")
				pid, err := r.Run(t.Context(), run)
				require.NoError(t, err)
				require.False(t, ended(pid))
				require.Equal(t, []string{run.ID}, list(t, r))
				for range 2 {
					require.NoError(t, r.Delete(t.Context(), run.ID))
					require.True(t, ended(pid))
					require.Empty(t, list(t, r))
					require.Empty(t, states(t, r))
				}
				require.Empty(t, cgroups(t, cgroupPath(run.ID)))
				_, err = r.Run(t.Context(), run)
				require.NoError(t, err, "and can be made again")
			})
			t.Run("one that has ended", func(t *testing.T) {
				run := container(t, r, "exit")
				pid, err := r.Run(t.Context(), run)
				require.NoError(t, err)
				require.Eventually(t, func() bool { return ended(pid) }, wait, tick)
				require.NoError(t, r.Delete(t.Context(), run.ID))
				require.Empty(t, states(t, r))
			})
			t.Run("one whose pid is another's", func(t *testing.T) {
				run := container(t, r, "exit")
				_, err := r.Run(t.Context(), run)
				require.NoError(t, err)
				other := exec.Command("sleep", "1000")
				require.NoError(t, other.Start())
				defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
				rewrite(t, r, run.ID, record{PID: other.Process.Pid, Start: 1})
				require.NoError(t, r.Delete(t.Context(), run.ID))
				require.False(t, ended(other.Process.Pid))
			})
			t.Run("one of before the machine's start", func(t *testing.T) {
				run := container(t, r, "wait")
				other := exec.Command("sleep", "1000")
				require.NoError(t, other.Start())
				defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
				stat, err := proctree.Read(other.Process.Pid)
				require.NoError(t, err)
				rewrite(t, r, run.ID, record{Boot: "another", PID: stat.PID, Start: stat.Start})
				require.NoError(t, os.Mkdir(r.stateOf(run.ID), 0o700))
				require.NoError(t, r.Delete(t.Context(), run.ID))
				require.False(t, ended(stat.PID))
				require.Empty(t, states(t, r))
			})
		})
	}
}

// rewrite puts something else into a record.
func rewrite(t *testing.T, r *Runtime, id string, rec record) {
	t.Helper()
	require.NoError(t, r.removeRecord(id))
	begin(t, r, id, "")
	f, err := os.OpenFile(r.recordPath(id), os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, appendRecord(f, rec))
}

// begin makes a record as of a Run that came no further.
func begin(t *testing.T, r *Runtime, id, cgroup string) {
	t.Helper()
	require.NoError(t, r.removeRecord(id))
	f, err := r.beginRecord(id, cgroup)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// states are the containers that the runtime itself knows.
func states(t *testing.T, r *Runtime) []string {
	t.Helper()
	entries, err := os.ReadDir(r.root())
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		if checkID(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestDeleteWithoutRecordOfThePid: wardend was killed after the runtime had done its work.
func TestDeleteWithoutRecordOfThePid(t *testing.T) {
	for _, name := range runtimes() {
		t.Run(name, func(t *testing.T) {
			r := find(t, name)
			for name, spoil := range map[string]func(*testing.T, string){
				"only begun": func(t *testing.T, id string) { t.Helper(); begin(t, r, id, "") },
				"gone":       func(t *testing.T, id string) { t.Helper(); require.NoError(t, r.removeRecord(id)) },
				"damaged": func(t *testing.T, id string) {
					t.Helper()
					require.NoError(t, os.WriteFile(r.recordPath(id), []byte("{"), 0o600))
				},
				"unknown to the runtime": func(t *testing.T, id string) {
					t.Helper()
					begin(t, r, id, cgroupPath(id))
					require.NoError(t, os.RemoveAll(r.stateOf(id)))
				},
			} {
				t.Run(name, func(t *testing.T) {
					run := container(t, r, "wait")
					pid, err := r.Run(t.Context(), run)
					require.NoError(t, err)
					require.False(t, ended(pid))
					spoil(t, run.ID)
					require.Equal(t, []string{run.ID}, list(t, r))
					require.NoError(t, r.Delete(t.Context(), run.ID))
					require.True(t, ended(pid))
					require.Empty(t, states(t, r))
					require.Empty(t, list(t, r))
				})
			}
		})
	}
}

// TestDeleteWhatIsHalfMade: the runtime was killed before it wrote what it keeps.
func TestDeleteWhatIsHalfMade(t *testing.T) {
	for _, name := range runtimes() {
		t.Run(name, func(t *testing.T) {
			r := find(t, name)
			for name, halve := range map[string]func(dir string) error{
				"nothing": func(string) error { return nil },
				"empty":   func(dir string) error { return os.Mkdir(dir, 0o700) },
				"damaged": func(dir string) error {
					if err := os.Mkdir(dir, 0o700); err != nil {
						return err
					}
					for _, file := range []string{"status", "state.json"} {
						if err := os.WriteFile(filepath.Join(dir, file), []byte(`{"pid":`), 0o600); err != nil {
							return err
						}
					}
					return nil
				},
			} {
				t.Run(name, func(t *testing.T) {
					begin(t, r, "half", "")
					require.NoError(t, halve(r.stateOf("half")))
					require.Equal(t, []string{"half"}, list(t, r))
					require.NoError(t, r.Delete(t.Context(), "half"))
					require.Empty(t, states(t, r))
					require.Empty(t, list(t, r))
				})
			}
		})
	}
}

// TestDeleteByAnother: another runtime was found after a restart.
func TestDeleteByAnother(t *testing.T) {
	crun, runc := find(t, "crun"), find(t, "runc")
	for _, c := range []struct{ from, to *Runtime }{{crun, runc}, {runc, crun}} {
		run := container(t, c.from, "wait")
		pid, err := c.from.Run(t.Context(), run)
		require.NoError(t, err)
		other := *c.to
		other.dir = c.from.dir
		require.NoError(t, other.Delete(t.Context(), run.ID))
		require.True(t, ended(pid))
		require.Empty(t, states(t, c.from))
		require.Empty(t, list(t, c.from))
	}
}

// TestDeleteWhenNobodyReaps: a wardend that is the first process of a container, say.
func TestDeleteWhenNobodyReaps(t *testing.T) {
	for _, name := range runtimes() {
		t.Run(name, func(t *testing.T) {
			r := find(t, name)
			require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
			defer func() { require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)) }()
			run := container(t, r, "wait")
			pid, err := r.Run(t.Context(), run)
			require.NoError(t, err)
			defer func() {
				_, err := unix.Wait4(pid, nil, 0, nil)
				require.NoError(t, err)
			}()
			began := time.Now()
			require.NoError(t, r.Delete(t.Context(), run.ID))
			t.Logf("deleted in %v", time.Since(began))
			stat, err := proctree.Read(pid)
			require.NoError(t, err)
			require.Equal(t, byte('Z'), stat.State)
			require.Empty(t, states(t, r))
		})
	}
}

func TestDeleteGivenUp(t *testing.T) {
	for _, name := range runtimes() {
		t.Run(name, func(t *testing.T) {
			r := find(t, name)
			run := container(t, r, "wait")
			_, err := r.Run(t.Context(), run)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, r.Delete(ctx, run.ID), context.Canceled)
			require.Equal(t, []string{run.ID}, list(t, r), "it stays to be deleted")
			require.NoError(t, r.Delete(t.Context(), run.ID))
		})
	}
}

// atOnce is a context that waits for nothing.
func atOnce(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// TestDeleteWaitsForTheRuntime: some process of it is still at work, as the lock of the record shows.
func TestDeleteWaitsForTheRuntime(t *testing.T) {
	r := find(t, "runc")
	working, err := r.beginRecord("working", "")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err = r.Delete(ctx, "working")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "still at work")
	deleted := make(chan error, 1)
	go func() { deleted <- r.Delete(context.WithoutCancel(ctx), "working") }()
	require.NoError(t, os.Mkdir(r.stateOf("working"), 0o700), "its last work")
	require.NoError(t, working.Close())
	require.NoError(t, <-deleted)
	require.Empty(t, states(t, r))
}

// TestRunIsKilled: the runtime is killed at every moment of its work, and so is wardend as far as this package sees.
func TestRunIsKilled(t *testing.T) {
	for _, name := range runtimes() {
		t.Run(name, func(t *testing.T) {
			r := find(t, name)
			run := container(t, r, "wait")
			began := time.Now()
			_, err := r.Run(t.Context(), run)
			require.NoError(t, err)
			whole := time.Since(began)
			require.NoError(t, r.Delete(t.Context(), run.ID))
			const steps = 60
			half := 0
			for i := range steps {
				ctx, cancel := context.WithTimeout(t.Context(), whole*time.Duration(i)*3/steps/2)
				run := container(t, r, "wait")
				pid, err := r.Run(ctx, run)
				cancel()
				if err != nil {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					half++
				}
				require.NoError(t, r.Delete(t.Context(), run.ID))
				require.Empty(t, states(t, r))
				require.True(t, pid == 0 || ended(pid))
				require.NoError(t, endCgroup(atOnce(t), cgroupPath(run.ID)), "a process goes on")
			}
			t.Logf("%d of %d were killed in the midst of %v", half, steps, whole)
			require.NotZero(t, half)
		})
	}
}

// hangsVariable has a test program do what it is killed at.
const hangsVariable = "OCIRUNTIME_TEST_HANGS"

// TestTheRuntimeDiesWithUs: a wardend that is killed leaves no runtime that goes on.
func TestTheRuntimeDiesWithUs(t *testing.T) {
	needRoot(t)
	if dir := os.Getenv(hangsVariable); dir != "" {
		r := &Runtime{path: filepath.Join(dir, "runtime"), version: "slow", dir: dir}
		_, _ = r.Run(context.Background(), Run{ID: "x", Bundle: dir})
		return
	}
	dir := stateDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, recordsName), dirMode))
	require.NoError(t, os.Rename(script(t, "echo $$ > "+dir+"/pid.new; mv "+dir+"/pid.new "+dir+"/started; exec sleep 1000"),
		filepath.Join(dir, "runtime")))
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run", "^TestTheRuntimeDiesWithUs$")
	cmd.Env = append(os.Environ(), hangsVariable+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	var pid int
	require.Eventually(t, func() bool {
		raw, err := os.ReadFile(filepath.Join(dir, "started"))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(raw)))
		return err == nil && pid > 0
	}, wait, tick)
	kill(t, cmd.Process.Pid)
	_ = cmd.Wait()
	require.Eventually(t, func() bool { return ended(pid) }, wait, tick)
}
