package benchmark

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Here is this machine, the commit that is checked out in a directory, and today.
func Here(ctx context.Context, dir string) Origin {
	return Origin{Machine: machine(), Commit: commit(ctx, dir), Date: time.Now().UTC().Format(time.DateOnly)}
}

// machine is what a figure depends on: processor, cores, memory and kernel.
func machine() string {
	return fmt.Sprintf("%s, %d cores, %s, Linux %s", processor(), runtime.NumCPU(), memory(), kernel())
}

func processor() string {
	if name, ok := field("/proc/cpuinfo", "model name"); ok {
		return name
	}
	return runtime.GOARCH
}

func memory() string {
	var kib int64
	text, _ := field("/proc/meminfo", "MemTotal")
	if _, err := fmt.Sscanf(text, "%d kB", &kib); err != nil {
		return "memory unknown"
	}
	return fmt.Sprintf("%d GiB", (kib+1<<19)>>20)
}

func kernel() string {
	content, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	release, _, _ := strings.Cut(strings.TrimSpace(string(content)), "-")
	return release
}

// field is the first value of a name in a file of lines "name : value".
func field(path, name string) (string, bool) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(content)) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// commit is the short name of what is checked out, with "+" when something was changed since; "unknown" outside of git.
func commit(ctx context.Context, dir string) string {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	name, err := git("rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "unknown"
	}
	if changed, err := git("status", "--porcelain", "--untracked-files=no"); err != nil || changed != "" {
		name += "+"
	}
	return name
}
