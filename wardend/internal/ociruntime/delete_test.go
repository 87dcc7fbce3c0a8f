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
	each(t, func(t *testing.T, r *Runtime) {
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
			require.Empty(t, cgroupDirs(t, "wardend-test"+strconv.Itoa(os.Getpid())+"-"+run.ID))
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
			require.NoError(t, r.writeRecord(run.ID, record{PID: other.Process.Pid, Start: 1}))
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
			require.NoError(t, r.writeRecord(run.ID, record{PID: stat.PID, Start: stat.Start}))
			raw, err := os.ReadFile(r.recordPath(run.ID))
			require.NoError(t, err)
			boot, err := bootID()
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(r.recordPath(run.ID), []byte(strings.Replace(string(raw), boot, "another", 1)), 0o600))
			require.NoError(t, os.Mkdir(r.stateOf(run.ID), 0o700))
			require.NoError(t, r.Delete(t.Context(), run.ID))
			require.False(t, ended(stat.PID))
			require.Empty(t, states(t, r))
		})
	})
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
	each(t, func(t *testing.T, r *Runtime) {
		for name, spoil := range map[string]func(string) error{
			"only begun": func(id string) error { return r.writeRecord(id, record{}) },
			"gone":       r.removeRecord,
			"damaged":    func(id string) error { return os.WriteFile(r.recordPath(id), []byte("{"), 0o600) },
		} {
			t.Run(name, func(t *testing.T) {
				run := container(t, r, "wait")
				pid, err := r.Run(t.Context(), run)
				require.NoError(t, err)
				require.False(t, ended(pid))
				require.NoError(t, spoil(run.ID))
				require.Equal(t, []string{run.ID}, list(t, r))
				require.NoError(t, r.Delete(t.Context(), run.ID))
				require.True(t, ended(pid))
				require.Empty(t, states(t, r))
				require.Empty(t, list(t, r))
			})
		}
	})
}

// TestDeleteWhatIsHalfMade: the runtime was killed before it wrote what it keeps.
func TestDeleteWhatIsHalfMade(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
		for name, make := range map[string]func(dir string) error{
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
				require.NoError(t, r.beginRecord("half"))
				require.NoError(t, make(r.stateOf("half")))
				require.Equal(t, []string{"half"}, list(t, r))
				require.NoError(t, r.Delete(t.Context(), "half"))
				require.Empty(t, states(t, r))
				require.Empty(t, list(t, r))
			})
		}
	})
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
	each(t, func(t *testing.T, r *Runtime) {
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

func TestDeleteGivenUp(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
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

// TestRunIsKilled: the runtime is killed at every moment of its work, and so is wardend as far as this package sees.
func TestRunIsKilled(t *testing.T) {
	each(t, func(t *testing.T, r *Runtime) {
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
			// What the runtime had started gives up by itself at once.
			pattern := "wardend-test" + strconv.Itoa(os.Getpid()) + "-" + run.ID
			require.Eventually(t, func() bool {
				for _, dir := range cgroupDirs(t, pattern) {
					raw, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
					if err == nil && len(raw) > 0 {
						return false
					}
				}
				return true
			}, wait, tick)
		}
		t.Logf("%d of %d were killed in the midst of %v", half, steps, whole)
		require.NotZero(t, half)
	})
}

// TestTheRuntimeDiesWithUs: a wardend that is killed leaves no runtime that goes on.
func TestTheRuntimeDiesWithUs(t *testing.T) {
	needRoot(t)
	if dir := os.Getenv("OCIRUNTIME_TEST_HANGS"); dir != "" {
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
	cmd.Env = append(os.Environ(), "OCIRUNTIME_TEST_HANGS="+dir)
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
