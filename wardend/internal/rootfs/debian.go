package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// DefaultSuite is the release of Debian that Debian makes a rootfs of.
const DefaultSuite = "bookworm"

// DebianOptions say how Debian makes a rootfs.
type DebianOptions struct {
	// Dir is made: absent, empty or an earlier rootfs of this package, which is replaced.
	Dir string
	// Suite is a release's code name that debootstrap knows; DefaultSuite when empty.
	Suite string
	// Mirror is an http or https URL without a password; debootstrap's own default when empty.
	Mirror string
	// Include are names of packages beside DebianPackages.
	Include []string
	// Output, if not nil, gets debootstrap's lines as they come.
	Output io.Writer
}

// DebianPackages are installed beside Debian's smallest system: what buildpacks commonly call.
func DebianPackages() []string {
	return []string{"bzip2", "ca-certificates", "curl", "git", "tzdata", "unzip", "xz-utils"}
}

// ErrNoDebootstrap: the program is not there.
var ErrNoDebootstrap = errors.New("debootstrap is not installed: install the package of that name (apt-get install debootstrap, " +
	"or dnf install debootstrap), or make a rootfs of this machine's programs with \"wardend rootfs host DIR\"")

// DebootstrapError: debootstrap ended with an error.
type DebootstrapError struct {
	// Lines are the last that it wrote.
	Lines []string
	Err   error
}

func (e *DebootstrapError) Error() string {
	return fmt.Sprintf("debootstrap failed (%v); its last words:\n  %s", e.Err, strings.Join(e.Lines, "\n  "))
}

func (e *DebootstrapError) Unwrap() error { return e.Err }

// Debian makes a rootfs with debootstrap, whose signatures are checked, with a user vcap, and without package lists,
// set-uid bits, devices and what tells one machine from another. It needs root and a network, and takes minutes.
//
// It is made beside Dir and moved there when it is whole, as Host does it. debootstrap runs in mount and pid
// namespaces of its own: whatever happens to it or to wardend, no process and no mount of it is left.
// Its errors are ErrNotRoot, ErrNoDebootstrap, *RefusedError, *DebootstrapError, ctx's, or the file system's.
func Debian(ctx context.Context, o DebianOptions) (_ *Summary, err error) {
	start := time.Now()
	if o.Suite == "" {
		o.Suite = DefaultSuite
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, ErrNotRoot
	}
	program, err := exec.LookPath("debootstrap")
	if err != nil {
		return nil, ErrNoDebootstrap
	}
	s, err := newStaging(o.Dir, KindDebian)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := o.debootstrap(ctx, program, s.dir); err != nil {
		return nil, err
	}
	sum := &Summary{Dir: s.target, Kind: KindDebian, User: vcap()}
	if err := finishDebian(ctx, s.dir, sum); err != nil {
		return nil, err
	}
	if err := s.commit(); err != nil {
		return nil, err
	}
	sum.Seconds = time.Since(start).Seconds()
	return sum, nil
}

// validate says everything that is wrong with the options. None of them can be taken for an option of debootstrap's.
func (o *DebianOptions) validate() error {
	var errs []error
	if !regexp.MustCompile(`^[a-z][a-z0-9.-]{0,31}$`).MatchString(o.Suite) {
		errs = append(errs, fmt.Errorf("suite: %q is no release's code name, such as %s", o.Suite, DefaultSuite))
	}
	name := regexp.MustCompile(`^[a-z0-9][a-z0-9.+-]{1,100}$`)
	for _, p := range o.Include {
		if !name.MatchString(p) {
			errs = append(errs, fmt.Errorf("include: %q is no name of a package", p))
		}
	}
	if o.Mirror != "" {
		u, err := url.Parse(o.Mirror)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			errs = append(errs, errors.New("mirror: give an http or https URL"))
		case u.User != nil:
			errs = append(errs, errors.New("mirror: no password, please: it would be written into the rootfs, which every container reads"))
		}
	}
	return errors.Join(errs...)
}

// debootstrap runs the program.
func (o *DebianOptions) debootstrap(ctx context.Context, program, target string) error {
	packages := strings.Join(append(DebianPackages(), o.Include...), ",")
	args := []string{"--variant=minbase", "--force-check-gpg", "--include=" + packages, o.Suite, target}
	if o.Mirror != "" {
		args = append(args, o.Mirror)
	}
	//nolint:gosec // validated
	cmd := exec.CommandContext(ctx, program, args...)
	words := &lastLines{to: o.Output}
	cmd.Stdout, cmd.Stderr = words, words
	// Of the environment only what leads to the mirror: its packages' scripts run with it.
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy", "TMPDIR"} {
		if value, set := os.LookupEnv(name); set {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	// Process 1 of its namespace takes all others with it; it is killed when this thread ends, which must not be before.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return &DebootstrapError{Lines: words.lines(), Err: err}
	}
	return nil
}

// lastLines hands on what is written and keeps the last lines of it.
type lastLines struct {
	to   io.Writer
	tail []byte
}

// Bounds of what is kept.
const (
	maxTail  = 8 << 10
	maxLines = 12
)

func (l *lastLines) Write(p []byte) (int, error) {
	if l.to != nil {
		// A terminal that has gone does not end the work.
		_, _ = l.to.Write(p)
	}
	l.tail = append(l.tail, p...)
	if len(l.tail) > maxTail {
		l.tail = append([]byte(nil), l.tail[len(l.tail)-maxTail:]...)
	}
	return len(p), nil
}

func (l *lastLines) lines() []string {
	lines := strings.Split(string(bytes.TrimSpace(l.tail)), "\n")
	return lines[max(0, len(lines)-maxLines):]
}
