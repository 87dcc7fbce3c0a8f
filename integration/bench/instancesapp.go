package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/runspec"
)

// dropletSize says what a droplet is made of: the app's program, and files that cannot be compressed, until it is so large
// in all.
type dropletSize struct {
	files, bytes int
}

var (
	smallDroplet = dropletSize{files: 1, bytes: 1 << 20}
	largeDroplet = dropletSize{files: 5000, bytes: 200 << 20}
)

// droplet is one that the cloud controller has.
type droplet struct {
	name string
	// dir holds it under its name in containers, for who binds it there by hand.
	dir string
	// spec runs it, but for what App fills in.
	spec api.AppSpec
}

// makeDroplet packs the app with as many files as its size wants, and gives it to the cloud controller.
func (b *instancesBench) makeDroplet(ctx context.Context, name string, size dropletSize) (droplet, error) {
	d := droplet{name: name, dir: filepath.Join(b.dir, name)}
	content := filepath.Join(b.dir, name+"-content")
	if err := b.fill(ctx, content, size); err != nil {
		return d, fmt.Errorf("make the %s droplet: %w", name, err)
	}
	if err := os.Mkdir(d.dir, 0o755); err != nil { //nolint:gosec // containers' users read it
		return d, fmt.Errorf("make the %s droplet: %w", name, err)
	}
	file := filepath.Join(d.dir, runspec.FileDroplet)
	packed, err := archive.PackFile(ctx, content, file)
	if err == nil {
		err = errors.Join(os.Chmod(file, 0o644), os.RemoveAll(content)) //nolint:gosec // containers' users read it
	}
	if err != nil {
		return d, fmt.Errorf("make the %s droplet: %w", name, err)
	}
	if err := b.uploadDroplet(ctx, name, file); err != nil {
		return d, fmt.Errorf("upload the %s droplet: %w", name, err)
	}
	d.spec, err = b.AppSpec(ctx, name, packed.SHA1)
	d.spec.Message.Limits = api.Limits{MemoryMB: 64, DiskMB: 512, FDs: 1024}
	return d, err
}

// fill lays a droplet's content out as a staging does.
func (b *instancesBench) fill(ctx context.Context, content string, size dropletSize) error {
	for _, dir := range []string{"app", "logs", "tmp"} {
		if err := os.MkdirAll(filepath.Join(content, dir), 0o755); err != nil { //nolint:gosec // the app's
			return err
		}
	}
	program := filepath.Join(content, "app", "serve")
	root, err := stack.Root()
	if err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./integration/bench/serve")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the app: %w\n%s", err, said)
	}
	packed, err := archive.PackFile(ctx, content, content+".tgz")
	if err != nil {
		return err
	}
	if err := os.Remove(content + ".tgz"); err != nil {
		return err
	}
	source := rand.NewChaCha8([32]byte{}) // of one seed, whichever
	for n, bytes := range sizes(rand.New(source), size.files, max(size.bytes-int(packed.Size), 0)) {
		path := filepath.Join(content, "app", place(n, "bin"))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the app's
			return err
		}
		chance := make([]byte, bytes)
		_, _ = source.Read(chance)                                // it never fails
		if err := os.WriteFile(path, chance, 0o644); err != nil { //nolint:gosec // the app's
			return err
		}
	}
	return nil
}

// uploadDroplet does what a staging does in the end.
func (b *instancesBench) uploadDroplet(ctx context.Context, app, path string) error {
	if err := b.Upload(ctx, app, []byte("no package: only the droplet is wanted")); err != nil {
		return err
	}
	request, err := b.StagingRequest(ctx, app)
	if err != nil {
		return err
	}
	address, err := url.Parse(request.UploadURI)
	if err != nil {
		return errors.New("the upload's address cannot be read") // it has a password
	}
	address.RawQuery = "" // an answer only when it is there
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	form, to := io.Pipe()
	defer form.Close()
	writer := multipart.NewWriter(to)
	go func() {
		part, err := writer.CreateFormFile("upload[droplet]", runspec.FileDroplet)
		if err == nil {
			_, err = io.Copy(part, file)
		}
		to.CloseWithError(errors.Join(err, writer.Close()))
	}()
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), form)
	if err != nil {
		return err
	}
	post.Header.Set("Content-Type", writer.FormDataContentType())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(post)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusMultipleChoices {
		return errors.New(answer.Status)
	}
	return nil
}

// copyRunner puts the runner where containers made by hand may have it from.
func (b *instancesBench) copyRunner() error {
	from, err := stack.Bin(runspec.RunnerName)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copy the runner: %w", err)
	}
	if err := os.MkdirAll(b.runnerDir(), 0o755); err != nil { //nolint:gosec // containers' users read it
		return fmt.Errorf("copy the runner: %w", err)
	}
	//nolint:gosec // a program, which containers' users run
	if err := os.WriteFile(filepath.Join(b.runnerDir(), runspec.RunnerName), content, 0o755); err != nil {
		return fmt.Errorf("copy the runner: %w", err)
	}
	return nil
}

func (b *instancesBench) runnerDir() string { return filepath.Join(b.dir, "bin") }
