package ociruntime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	// probeID is the container that is tried: one at a time in a StateDir.
	probeID   = "wardend-probe"
	probeInit = "init"
	// passMode is a directory's that the container's root passes through.
	passMode = 0o711
	// rootMode is that of directories within a root file system, and of programs.
	rootMode = 0o755
)

var (
	errHangs = errors.New("it did not end in time")
	errDeaf  = errors.New("the container's process did not get the file descriptor that was handed on, or did not end")
)

// try runs the container of a probe twice: detached, as containers are, and attached, which tells the exit status of
// its process. In between, the runtime's compiled seccomp filter is taken.
func (f *finder) try(ctx context.Context, r *Runtime) (err error) {
	if err := f.cleanUp(ctx, r); err != nil {
		return fmt.Errorf("remove what an earlier try has left: %w", err)
	}
	defer func() {
		if left := f.cleanUp(context.WithoutCancel(ctx), r); left != nil {
			err = errors.Join(err, fmt.Errorf("remove what was tried: %w", left))
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, errHangs)
	defer cancel()
	bundle, spec, err := f.build()
	if err != nil {
		return fmt.Errorf("make a container to try: %w", err)
	}
	if err := f.detached(ctx, r, bundle, spec); err != nil {
		return err
	}
	if err := f.attached(ctx, r, bundle, spec); err == nil || r.filter == nil {
		return err
	}
	// The filter is for speed alone.
	f.opts.Log.Debug("an OCI runtime does not take its own seccomp filter", "runtime", r)
	r.filter = nil
	return f.attached(ctx, r, bundle, spec)
}

// build makes the bundle with its root file system, in which there is nothing but the program, and where the kernel's
// file systems go.
func (f *finder) build() (bundle string, spec *specs.Spec, err error) {
	bundle = filepath.Join(f.opts.StateDir, probeName)
	root := filepath.Join(bundle, "rootfs")
	for _, dir := range []string{bundle, root, filepath.Join(root, "proc"), filepath.Join(root, "sys"), filepath.Join(root, "dev")} {
		if err := os.Mkdir(dir, rootMode); err != nil {
			return "", nil, err
		}
		// Mkdir's mode is subject to the umask.
		if err := os.Chmod(dir, rootMode); err != nil {
			return "", nil, err
		}
	}
	if err := copyProgram(f.opts.InitBinary, filepath.Join(root, probeInit)); err != nil {
		return "", nil, err
	}
	// As of a real container, its root is its own.
	if err := os.Chown(root, int(f.opts.IDs.Host), int(f.opts.IDs.Host)); err != nil {
		return "", nil, err
	}
	spec, err = Spec(Container{
		ID: probeID, Root: root, Hostname: probeID, Args: []string{"/" + probeInit, "init", "--probe"},
		IDs: f.opts.IDs, CgroupPath: f.cgroup(),
	})
	return bundle, spec, err
}

// copyProgram copies and does not link or mount: a mount is something to be left behind, and a link may not be made
// from one file system to another.
func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, rootMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(rootMode), out.Close())
}

// cgroup is at the top of the hierarchies, since a runtime removes only the last directory of a path that it made; no
// other wardend's container has it.
func (f *finder) cgroup() string {
	const enough = 8
	sum := sha256.Sum256([]byte(f.opts.StateDir))
	return "/" + probeID + "-" + hex.EncodeToString(sum[:enough])
}

// detached runs the container as containers are run. Its process holds the only other end of a pipe: when that is
// closed, it had been given it, and has ended.
func (f *finder) detached(ctx context.Context, r *Runtime, bundle string, spec *specs.Spec) error {
	if err := r.WriteBundle(bundle, spec); err != nil {
		return err
	}
	held, handed, err := os.Pipe()
	if err != nil {
		return err
	}
	defer held.Close()
	_, err = r.Run(ctx, Run{ID: probeID, Bundle: bundle, Files: []*os.File{handed}})
	handed.Close()
	var failed *CommandError
	if errors.As(err, &failed) {
		return failed // the words alone
	}
	if err != nil {
		return err
	}
	r.filter = readFilter(filepath.Join(r.stateOf(probeID), "seccomp.bpf"))
	end, _ := ctx.Deadline()
	if err := held.SetReadDeadline(end); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = held.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := held.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return errDeaf
	}
	return nil
}

// attached runs the container, after an earlier one is deleted, for the exit status of its process; with the compiled
// filter, if there is one.
func (f *finder) attached(ctx context.Context, r *Runtime, bundle string, spec *specs.Spec) error {
	if err := r.Delete(ctx, probeID); err != nil {
		return err
	}
	if err := r.WriteBundle(bundle, spec); err != nil {
		return err
	}
	rec, err := r.run(ctx, Run{ID: probeID, Bundle: bundle}, false)
	if rec != nil {
		rec.Close()
	}
	return err
}

// readFilter is the seccomp filter that crun keeps of a container, as it handed it to the kernel. Nil for a runtime that
// does not, or if it cannot be one.
func readFilter(path string) []byte {
	const instruction = 8
	raw, err := os.ReadFile(path)
	if err != nil || len(raw) == 0 || len(raw)%instruction != 0 || len(raw) > unix.BPF_MAXINSNS*instruction {
		return nil
	}
	return raw
}

// cleanUp removes all that a try makes, or that one has left that was killed.
func (f *finder) cleanUp(ctx context.Context, r *Runtime) error {
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, errHangs)
	defer cancel()
	// A runtime that does not work deletes nothing either, and has made nothing.
	deleted := r.Delete(ctx, probeID)
	if deleted != nil {
		f.opts.Log.Debug("an OCI runtime does not delete", "runtime", r, "error", deleted)
	}
	return errors.Join(
		os.RemoveAll(r.stateOf(probeID)), r.removeRecord(probeID), os.RemoveAll(filepath.Join(f.opts.StateDir, probeName)),
		removeCgroups(ctx, f.cgroup()))
}
