package session

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/durable-dea/dea/internal/execwire"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/runner/internal/shell"
)

// environment is the launcher's, which has all that the app's has but for what scripts of buildpacks add; this process's own
// where that cannot be read.
func (s Session) environment(command execwire.Command) []string {
	environment, err := s.launchers()
	if err != nil {
		environment = os.Environ()
	}
	environment = shell.Environment(s.Root, environment)
	environment = slices.DeleteFunc(environment, func(v string) bool { return strings.HasPrefix(v, "TERM=") })
	if command.Terminal != nil && command.Terminal.Name != "" {
		environment = append(environment, "TERM="+command.Terminal.Name)
	}
	return environment
}

// launchers is the environment of the launcher in this container. Its marker is the app's to change, and may be of a process
// that is no more: only one that is a launcher is taken for it. That need not be of the same file as this process: a node's
// runner may have been replaced by a newer one while its apps go on.
func (s Session) launchers() ([]string, error) {
	text, err := os.ReadFile(runspec.Beneath(s.Root, runspec.PathLaunched))
	if err != nil {
		return nil, err
	}
	pid, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 31)
	if err != nil {
		return nil, err
	}
	process := fmt.Sprintf("/proc/%d/", pid)
	exe, err := os.Readlink(process + "exe")
	if err != nil {
		return nil, err
	}
	arguments, err := os.ReadFile(process + "cmdline")
	if err != nil {
		return nil, err
	}
	if !isLauncher(exe, arguments) {
		return nil, fmt.Errorf("process %d is no launcher", pid)
	}
	block, err := os.ReadFile(process + "environ")
	if err != nil {
		return nil, err
	}
	var environment []string
	for variable := range bytes.SplitSeq(block, []byte{0}) {
		if len(variable) > 0 {
			environment = append(environment, string(variable))
		}
	}
	return environment, nil
}

// isLauncher tells by the file that a process runs, which may have been deleted since, and by its arguments.
func isLauncher(exe string, arguments []byte) bool {
	name := filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
	_, rest, _ := bytes.Cut(arguments, []byte{0})
	verb, _, _ := bytes.Cut(rest, []byte{0})
	return name == runspec.RunnerName && string(verb) == "launch"
}
