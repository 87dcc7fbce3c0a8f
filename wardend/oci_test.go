package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/durable-dea/dea/internal/sandbox"
	"github.com/durable-dea/dea/wardend/internal/conformance"
	"github.com/stretchr/testify/require"
)

// workDir is where what is made for the tests lies; TestMain removes it.
var workDir = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "wardend-test")
	if err != nil {
		return "", err
	}
	madeDir = dir
	return dir, errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "bin"), 0o755)) //nolint:gosec // containers' users pass through
})

// madeDir is workDir's, once it is there.
var madeDir string

func build(program, source string) error {
	cmd := exec.Command("go", "build", "-o", program, source) //nolint:gosec // of the test
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", source, err, out)
	}
	return nil
}

// tool builds package tool.
var tool = sync.OnceValues(func() (string, error) {
	dir, err := workDir()
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "bin", "tool")
	return program, build(program, "./internal/conformance/tool")
})

// realParts are what real containers need and what is made once for all tests.
type realParts struct {
	dir, program, tool, rootfs string
}

// servers counts the servers: each has its own pool and ports.
var servers atomic.Int32

var errNoReal = errors.New("no real containers here")

// madeParts makes the parts, or says why there can be no real containers.
var madeParts = sync.OnceValues(func() (parts realParts, err error) {
	if os.Geteuid() != 0 {
		return parts, fmt.Errorf("%w: this is not root", errNoReal)
	}
	if _, err := exec.LookPath("crun"); err != nil {
		if _, err := exec.LookPath("runc"); err != nil {
			return parts, fmt.Errorf("%w: there is neither crun nor runc", errNoReal)
		}
	}
	if err := sandbox.Check(); err != nil {
		return parts, err
	}
	if parts.tool, err = tool(); err != nil {
		return parts, err
	}
	if parts.dir, err = workDir(); err != nil {
		return parts, err
	}
	parts.program = filepath.Join(parts.dir, "wardend")
	if err := build(parts.program, "."); err != nil {
		return parts, err
	}
	parts.rootfs = filepath.Join(parts.dir, "rootfs")
	host := exec.Command(parts.program, "rootfs", "host", parts.rootfs, //nolint:gosec // of the test
		"--exclude", "/usr/local", "--exclude", "/usr/share", "--exclude", "/usr/include", "--exclude", "/usr/src", "--exclude", "/usr/lib/gcc")
	if out, err := host.CombinedOutput(); err != nil {
		return parts, fmt.Errorf("make a rootfs: %w: %s", err, out)
	}
	return parts, nil
})

// needReal in the environment makes a machine that cannot have real containers a failure, where it is known to be one
// that can.
const needReal = "WARDEND_TEST_REAL"

func realOrSkip(t testing.TB) realParts {
	t.Helper()
	parts, err := madeParts()
	if errors.Is(err, errNoReal) && os.Getenv(needReal) == "" {
		t.Skip(err)
	}
	require.NoError(t, err)
	return parts
}

// realPorts is how many ports the pool of a server has.
const realPorts = 50

// startReal starts a server of real containers.
func startReal(t testing.TB, parts realParts, flags ...string) *wardend {
	t.Helper()
	n := int(servers.Add(1))
	w := &wardend{t: t, program: parts.program, backend: "oci"}
	return w.start(append([]string{
		"--rootfs", parts.rootfs, "--pool-network", fmt.Sprintf("10.%d.%d.0/22", 100+n/64, n%64*4),
		"--port-pool", fmt.Sprintf("%d:%d", 20000+n*realPorts, realPorts),
	}, flags...)...)
}

// TestConformanceOCI puts the oci backend under the protocol's tests, and those that real containers alone pass.
func TestConformanceOCI(t *testing.T) {
	parts := realOrSkip(t)
	conformance.Suite{
		Start: func(t testing.TB, flags ...string) conformance.Server {
			t.Helper()
			return startReal(t, parts, flags...)
		},
		Real: true, Rootfs: parts.rootfs, Tool: parts.tool,
	}.Run(t)
}
