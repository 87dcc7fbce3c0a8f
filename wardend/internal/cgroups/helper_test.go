package cgroups

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const helperVar = "CGROUPS_TEST_HELPER"

func TestMain(m *testing.M) {
	if words := strings.Fields(os.Getenv(helperVar)); len(words) > 0 {
		if err := helper(words); err != nil {
			fmt.Println("helper:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// helper is what the test's own program does as a process in a group. It begins at a line on its standard input.
func helper(words []string) error {
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	number, _ := strconv.Atoi(words[len(words)-1])
	switch words[0] {
	case "wait":
		_, _ = io.Copy(io.Discard, in)
		return nil
	case "use": // memory in bytes, and stay
		mem, err := use(number)
		fmt.Println("used", len(mem))
		_, _ = io.Copy(io.Discard, in)
		return err
	case "read": // a file, and stay
		f, err := os.Open(words[1])
		if err != nil {
			return err
		}
		n, err := io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f})
		fmt.Println("read", n)
		_, _ = io.Copy(io.Discard, in)
		return err
	case "queue": // bytes, at most, that nobody takes from connections of its own; and stay
		n, err := queue(number)
		fmt.Println("queued", n)
		_, _ = io.Copy(io.Discard, in)
		return err
	case "spin": // milliseconds
		for start := time.Now(); time.Since(start) < time.Duration(number)*time.Millisecond; {
			_ = strings.Repeat("x", number)
		}
		return nil
	case "fork": // processes
		return forkMany(number)
	case "join-v1": // by the files from 3
		return joinV1(number)
	case "clone-v2": // into the directory at 3
		return printGroups(&syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: 3}, nil)
	case "write-v2": // a child's pid to the file at 4
		return printGroups(nil, func(pid int) error {
			_, err := os.NewFile(4, "").WriteString(strconv.Itoa(pid))
			return err
		})
	}
	return errors.New("what?")
}

func use(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
}

func forkMany(n int) error {
	var started []*exec.Cmd
	said := "not refused"
	for i := range n {
		cmd := exec.Command("/bin/sleep", "60")
		if err := cmd.Start(); err != nil {
			said = fmt.Sprintf("refused after %d: %v", i, err)
			break
		}
		started = append(started, cmd)
	}
	for _, cmd := range started {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	fmt.Println(said)
	return nil
}

// joinV1 moves one thread, and prints the groups of a child that it forks, then those of the process.
func joinV1(n int) error {
	runtime.LockOSThread() // the main thread, which is not to move
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		for fd := range n {
			if _, err := os.NewFile(uintptr(3+fd), "").WriteString("0"); err != nil {
				done <- err
				return
			}
		}
		done <- printGroups(nil, nil)
	}()
	if err := <-done; err != nil {
		return err
	}
	raw, err := os.ReadFile("/proc/self/cgroup")
	fmt.Printf("--\n%s", raw)
	return err
}

// printGroups prints the groups of a child.
func printGroups(attr *syscall.SysProcAttr, started func(pid int) error) error {
	cmd := exec.Command("/bin/sh", "-c", "read x; cat /proc/self/cgroup")
	cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = attr, os.Stdout, os.Stdout
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if started != nil {
		if err := started(cmd.Process.Pid); err != nil {
			return err
		}
	}
	_, _ = io.WriteString(in, "\n")
	return cmd.Wait()
}

// process is a helper that runs.
type process struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start starts a helper, whose groups it changes and which it ends with the test.
func start(t *testing.T, what string, change func(*exec.Cmd)) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), helperVar+"="+what)
	if change != nil {
		change(cmd)
	}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	p := &process{Cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() { p.end() })
	return p
}

func (p *process) end() {
	_ = p.Process.Kill()
	_ = p.Wait()
}

func (p *process) begin(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(p.in, "\n")
	require.NoError(t, err)
}

func (p *process) line(t *testing.T) string {
	t.Helper()
	line, err := p.out.ReadString('\n')
	require.NoError(t, err)
	return line
}

// into starts a helper in a group and has it begin.
func into(t *testing.T, g *Group, what string) *process {
	t.Helper()
	p := start(t, what, nil)
	for _, root := range g.m.groups {
		enter(t, g.dir(root), p)
	}
	p.begin(t)
	return p
}

func enter(t *testing.T, dir string, p *process) {
	t.Helper()
	require.NoError(t, write(filepath.Join(dir, procsName), strconv.Itoa(p.Process.Pid)))
}

func newInstance() string { return "t" + strings.ToLower(rand.Text()[:7]) }

// newManager makes a manager of the machine's cgroups, of which nothing is left after the test.
func newManager(t testing.TB) *Manager {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root makes cgroups")
	}
	m, err := Open(t.Context(), newInstance(), hclog.NewNullLogger())
	if errors.Is(err, ErrNone) {
		t.Skip("no cgroups here")
	}
	require.NoError(t, err)
	t.Cleanup(func() { closeManager(t, m) })
	return m
}

func closeManager(t testing.TB, m *Manager) {
	t.Helper()
	ids, err := m.IDs()
	require.NoError(t, err)
	for _, id := range ids {
		require.NoError(t, m.Remove(within(t, 10*time.Second), id))
	}
	require.NoError(t, m.Close())
	for _, root := range m.all {
		require.NoDirExists(t, m.parent(root))
	}
}

func newGroup(t testing.TB, m *Manager, id string) *Group {
	t.Helper()
	g, err := m.Create(id)
	require.NoError(t, err)
	return g
}

// content reads a control file of a group.
func content(t *testing.T, g *Group, controller, name string) string {
	t.Helper()
	file, ok := g.file(controller, name)
	if !ok {
		t.Skipf("no controller %s here", controller)
	}
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	return strings.TrimSpace(string(raw))
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), d)
	t.Cleanup(cancel)
	return ctx
}
