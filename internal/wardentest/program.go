// Package wardentest runs a real wardend of the process backend for the tests of what speaks to one.
package wardentest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// module is where the programs come from.
const module = "github.com/durable-dea/dea/"

// sources are the packages of the programs that are not named as theirs.
var sources = map[string]string{"dea-runner": "runner"}

// programs is the directory with what Main has built.
var programs string

// Main builds wardend, and further programs of the project's, for the tests of a package, runs these and looks for
// goroutines that they leave. It gives the exit status.
func Main(m *testing.M, more ...string) int {
	status, err := run(m, append(more, "wardend"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "wardentest:", err)
		return 1
	}
	return status
}

func run(m *testing.M, names []string) (int, error) {
	var err error
	if programs, err = os.MkdirTemp("", "dea"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(programs)
	for _, name := range names {
		if err := build(name); err != nil {
			return 1, err
		}
	}
	if status := m.Run(); status != 0 {
		return status, nil
	}
	return 0, goleak.Find()
}

func build(name string) error {
	source := name
	if other, ok := sources[name]; ok {
		source = other
	}
	command := exec.CommandContext(context.Background(), "go", "build", "-o", Program(name), module+source)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", name, err, said)
	}
	return nil
}

// Program is the path of one that Main has built, alone in its directory.
func Program(name string) string { return filepath.Join(programs, name, name) }
