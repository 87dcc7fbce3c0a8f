package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// handScript is what the go buildpack and the platform do with an app, by hand: build it, pack it, take the checksum,
// unpack it where it is to run.
const handScript = `
set -e
cd "$WORK/app"
GOBIN="$WORK/app/bin" go install .
cd "$WORK"
tar czf droplet.tgz app
sha1sum droplet.tgz >droplet.sha1
mkdir run
tar xzf droplet.tgz -C run
`

// hand pushes an app without the platform. Its build cache stays from one push to the next.
type hand struct {
	dir     string
	content []byte
}

func newHand(content []byte) (*hand, error) {
	dir, err := os.MkdirTemp("", "dea-by-hand")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	return &hand{dir, content}, nil
}

func (h *hand) close() { _ = os.RemoveAll(h.dir) } // a temporary directory

// push takes the zip to an app that listens, and ends it.
func (h *hand) push(ctx context.Context) (took time.Duration, failed error) {
	work, err := os.MkdirTemp(h.dir, "work")
	if err != nil {
		return 0, fmt.Errorf("make a directory: %w", err)
	}
	defer func() { failed = errors.Join(failed, os.RemoveAll(work)) }()
	begun := time.Now()
	if err := unzip(h.content, filepath.Join(work, "app")); err != nil {
		return 0, err
	}
	shell := exec.CommandContext(ctx, "bash", "-c", handScript)
	// The go buildpack's own settings.
	shell.Env = append(os.Environ(), "WORK="+work,
		"GOCACHE="+filepath.Join(h.dir, "go-build"), "GOPATH="+filepath.Join(h.dir, "gopath"),
		"GOENV=off", "GOPROXY=off", "GOSUMDB=off", "GOTOOLCHAIN=local", "GOTELEMETRY=off", "GOWORK=off", "CGO_ENABLED=0",
		"GOFLAGS=-trimpath -buildvcs=false -modcacherw")
	if out, err := shell.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, out)
	}
	err = h.start(ctx, filepath.Join(work, "run", "app", "bin", "hello"))
	return time.Since(begun), err
}

// start runs the app until its port is open.
func (h *hand) start(ctx context.Context, program string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	ctx, end := context.WithTimeout(ctx, time.Minute)
	app := exec.CommandContext(ctx, program)
	app.Env = append(os.Environ(), "PORT="+strconv.Itoa(port))
	if err := app.Start(); err != nil {
		end()
		return fmt.Errorf("start the app: %w", err)
	}
	defer func() {
		end()
		_ = app.Wait() // it was killed
	}()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return conn.Close()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the app does not listen: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil //nolint:forcetypeassert // it listens on TCP
}

// unzip needs no program of that name, which many machines have not.
func unzip(content []byte, dir string) error {
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return fmt.Errorf("unzip: %w", err)
	}
	for _, member := range archive.File {
		if err := extract(member, filepath.Join(dir, filepath.FromSlash(member.Name))); err != nil { //nolint:gosec // ours
			return fmt.Errorf("unzip: %w", err)
		}
	}
	return nil
}

func extract(member *zip.File, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	from, err := member.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from) //nolint:gosec // the zip is ours
	return errors.Join(err, to.Close())
}
