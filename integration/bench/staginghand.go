package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/durable-dea/dea/api"
)

// handPrograms are those of handStaging that a small machine may lack.
var handPrograms = []string{"bash", "unzip", "tar", "gzip", "curl"}

// handStaging is what a person does who has no platform, on the same wire: nothing is done in parallel, and nothing is
// slower than it need be. It notes when each step is over.
const handStaging = `
set -euo pipefail
cd "$WORK"
exec 3>steps
over() { echo "$EPOCHREALTIME $1" >&3; }
over 'bash begins'

curl -sSf -o package.zip "$DOWNLOAD"
over 'curl: download'
mkdir -p staged/app staged/logs staged/tmp cache
unzip -q package.zip -d staged/app
over 'unzip'

detected=$("$BUILDPACK/bin/detect" "$WORK/staged/app")
over 'bin/detect'
"$BUILDPACK/bin/compile" "$WORK/staged/app" "$WORK/cache" >staged/logs/staging_task.log 2>&1
over 'bin/compile'
command=$("$BUILDPACK/bin/release" "$WORK/staged/app" | sed -n 's/^  web: //p')
over 'bin/release'

cat >staged/staging_info.yml <<END
buildpack_path: $BUILDPACK
detected_buildpack: $detected
start_command: $command
effective_procfile:
  web: $command
END
tar czf droplet.tgz -C staged .
over 'tar czf'
sha1sum droplet.tgz >droplet.sha1
over 'sha1sum'

answer=$(curl -sSf -F 'upload[droplet]=@droplet.tgz' "$UPLOAD")
over 'curl: upload'
job=$(sed -n 's/.*"url": *"\([^"]*\)".*/\1/p' <<<"$answer")
[ "$job" ]
while answer=$(curl -sSf "$job"); ! grep -q '"status": *"finished"' <<<"$answer"; do
	if grep -q '"status": *"failed"' <<<"$answer"; then
		echo "$answer" >&2
		exit 1
	fi
	sleep 0.01
done
over 'curl: job finished'
`

// stagingHand stages apps without the platform.
type stagingHand struct {
	// dir is a temporary one, with the buildpack in it.
	dir string
}

func (h stagingHand) buildpack() string { return filepath.Join(h.dir, "buildpack") }

// stage stages an app by hand, with what a staging request of it says. What it leaves is not removed on time's account.
func (h stagingHand) stage(ctx context.Context, request api.StagingRequest) (_ handRun, failed error) {
	work, err := os.MkdirTemp(h.dir, "work")
	if err != nil {
		return handRun{}, fmt.Errorf("make a directory: %w", err)
	}
	defer func() { failed = errors.Join(failed, os.RemoveAll(work)) }()
	shell := exec.CommandContext(ctx, "bash", "-c", handStaging)
	shell.Env = append(os.Environ(), "LC_ALL=C", "WORK="+work, "BUILDPACK="+h.buildpack(),
		"DOWNLOAD="+request.DownloadURI, "UPLOAD="+request.UploadURI)
	// All of the shell's programs end with it, before their directory is removed.
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	var words bytes.Buffer
	shell.Stdout, shell.Stderr = &words, &words

	run := handRun{begun: time.Now()}
	err = shell.Run()
	run.time = time.Since(run.begun)
	if err != nil {
		return handRun{}, fmt.Errorf("stage by hand: %w\n%s", errors.Join(err, ctx.Err()), words.String())
	}
	droplet, err := os.Stat(filepath.Join(work, "droplet.tgz"))
	if err != nil {
		return handRun{}, fmt.Errorf("stage by hand: %w", err)
	}
	run.droplet = droplet.Size()
	run.steps, err = readSteps(filepath.Join(work, "steps"))
	return run, err
}

// handRun is one staging by hand.
type handRun struct {
	begun time.Time
	time  time.Duration
	// droplet is the size of what came out, in bytes.
	droplet int64
	steps   []handStep
}

func (r handRun) took() time.Duration { return r.time }

// handStep is a part of one, with the time at which it was over.
type handStep struct {
	over time.Time
	name string
}

// readSteps reads lines of "SECONDS.MICROSECONDS NAME".
func readSteps(path string) ([]handStep, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the steps: %w", err)
	}
	var steps []handStep
	for line := range strings.Lines(string(content)) {
		at, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		micros, err := strconv.ParseInt(strings.Replace(at, ".", "", 1), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the steps: %w: bash must be of version 5 or later", err)
		}
		steps = append(steps, handStep{time.UnixMicro(micros), name})
	}
	return steps, nil
}
