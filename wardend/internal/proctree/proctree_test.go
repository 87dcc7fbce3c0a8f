package proctree

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	line := "42 (a ) b (c) S 7 42 42 0 -1 4194304 100 200 3 4 50 60 70 80 20 0 1 0 123456 1000000 99 18446744073709551615 0"
	stat, err := parse(42, []byte(line))
	require.NoError(t, err)
	require.Equal(t, Stat{
		PID: 42, Parent: 7, State: 'S', User: 50, System: 60, ChildUser: 70, ChildSystem: 80,
		MinorFaults: 100, MajorFaults: 3, Start: 123456, RSSPages: 99,
	}, stat)
	for _, bad := range []string{"", "42 (x", "42 (x) S 1 2"} {
		_, err := parse(42, []byte(bad))
		require.Error(t, err)
	}
}

func TestDescendants(t *testing.T) {
	cmd := exec.Command("/bin/bash", "-c", `(sleep 1000 & echo $!; wait) & echo $!; wait`)
	cmd.Env = []string{"MARK=me"}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	want := map[int]bool{}
	for lines := bufio.NewScanner(out); len(want) < 2 && lines.Scan(); {
		pid, err := strconv.Atoi(lines.Text())
		require.NoError(t, err)
		want[pid] = true
	}
	for name, find := range map[string]func(int) ([]int, error){"children": Descendants, "scan": scan} {
		pids, err := find(cmd.Process.Pid)
		require.NoError(t, err)
		require.Len(t, pids, 2, name)
		for _, pid := range pids {
			require.True(t, want[pid], name)
		}
		all, err := find(os.Getpid())
		require.NoError(t, err)
		require.Contains(t, all, pids[1], name)
	}
	require.Contains(t, strings.Join(Environ(cmd.Process.Pid), " "), "MARK=me")
	stat, err := Read(cmd.Process.Pid)
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), stat.Parent)
	require.NotZero(t, stat.RSSPages)

	pids, err := Descendants(cmd.Process.Pid)
	require.NoError(t, err)
	for _, pid := range append(pids, cmd.Process.Pid) {
		p, err := os.FindProcess(pid)
		require.NoError(t, err)
		require.NoError(t, p.Kill())
	}
	_ = cmd.Wait()
	_, err = Read(cmd.Process.Pid)
	require.ErrorIs(t, err, ErrGone)
	require.Empty(t, Environ(cmd.Process.Pid))
	pids, err = Descendants(cmd.Process.Pid)
	require.NoError(t, err)
	require.Empty(t, pids)
}
