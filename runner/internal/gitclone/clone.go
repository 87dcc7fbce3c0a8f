package gitclone

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/durable-dea/dea/runner/internal/phase"
)

// Clone is one that is to be made.
type Clone struct {
	// URL is the repository's; credentials may stand in it.
	URL string
	// Ref is a branch, a tag or a commit; empty for the default branch.
	Ref string
	// Dir is what to clone into. Whatever is there is removed.
	Dir string
	// Shown is told in place of URL, and nothing in place of Hidden, a directory that means nothing to the user.
	Shown, Hidden string
	// Output receives what git says.
	Output io.Writer
}

// maxSaid bounds what is kept of what git says, which is little: it runs quietly.
const maxSaid = 64 << 10

// Run clones and gives the commit that was checked out. Its errors are of type *Error, unless ctx ended or Dir cannot be
// written.
func (c Clone) Run(ctx context.Context) (string, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return "", &Error{Reason: NoGit}
	}
	if strings.HasPrefix(c.URL, "-") || strings.HasPrefix(c.Ref, "-") {
		return "", &Error{Reason: NotFound}
	}
	if err := os.MkdirAll(filepath.Dir(c.Dir), 0o755); err != nil {
		return "", err
	}
	config, err := writeConfig(filepath.Dir(c.Dir))
	if err != nil {
		return "", err
	}
	defer os.Remove(config)
	w := &work{Clone: c, git: git, env: environment(config), redact: newRedactor(c)}
	defer w.tell()
	return w.run(ctx)
}

// work is a clone under way.
type work struct {
	Clone
	git    string
	env    []string
	redact redactor
	// said is what git said in the attempts that count.
	said bytes.Buffer
}

func (w *work) run(ctx context.Context) (string, error) {
	if err := w.checkout(ctx); err != nil {
		return "", err
	}
	if err := w.submodules(ctx); err != nil {
		var failed *Error
		if errors.As(err, &failed) {
			failed.Submodules = true
		}
		return "", err
	}
	commit, err := w.ask(ctx, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
	if cause := context.Cause(ctx); cause != nil {
		return "", cause
	}
	if err != nil {
		return "", &Error{Reason: Empty}
	}
	return commit, forget(w.Dir)
}

// tell passes on what git said, without credentials.
func (w *work) tell() { _, _ = w.Output.Write(w.redact.apply(w.said.Bytes())) }

var (
	wholeCommit = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	someCommit  = regexp.MustCompile(`^[0-9a-f]{4,64}$`)
)

// checkout tries what is fast and works nearly always first: one commit, of a branch or a tag. Commits, servers that
// are plain files and those too old for it need the whole.
func (w *work) checkout(ctx context.Context) error {
	if !wholeCommit.MatchString(w.Ref) {
		err := w.shallow(ctx)
		if err == nil || !w.worthTheWhole(err) {
			return err
		}
	}
	return w.whole(ctx)
}

// worthTheWhole tells whether a whole clone may work where a shallow one did not.
func (w *work) worthTheWhole(err error) bool {
	var failed *Error
	if !errors.As(err, &failed) {
		return false
	}
	return failed.Reason == Unknown || failed.Reason == NoRef && someCommit.MatchString(w.Ref)
}

func (w *work) shallow(ctx context.Context) error {
	args := []string{"clone", "--quiet", "--depth=1"}
	if w.Ref != "" {
		args = append(args, "--branch="+w.Ref)
	}
	return w.clone(ctx, args)
}

func (w *work) clone(ctx context.Context, args []string) error {
	w.said.Reset()
	if err := os.RemoveAll(w.Dir); err != nil {
		return err
	}
	return w.do(ctx, append(args, "--", w.URL, w.Dir)...)
}

func (w *work) whole(ctx context.Context) error {
	if err := w.clone(ctx, []string{"clone", "--quiet", "--no-checkout"}); err != nil {
		return err
	}
	for _, name := range w.names() {
		commit, err := w.ask(ctx, "rev-parse", "--verify", "--quiet", name+"^{commit}")
		if err == nil {
			return w.do(ctx, "checkout", "--quiet", "--detach", commit)
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
	}
	if w.Ref == "" {
		return &Error{Reason: Empty}
	}
	return &Error{Reason: NoRef}
}

// names are what Ref may mean, in the order that clone --branch has. None of them can be an option.
func (w *work) names() []string {
	if w.Ref == "" {
		return []string{"HEAD"}
	}
	names := []string{"refs/remotes/origin/" + w.Ref, "refs/tags/" + w.Ref}
	if someCommit.MatchString(w.Ref) {
		names = append(names, w.Ref)
	}
	return names
}

func (w *work) submodules(ctx context.Context) error {
	if _, err := os.Lstat(filepath.Join(w.Dir, ".gitmodules")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	before := w.said.Len()
	update := []string{"submodule", "--quiet", "update", "--init", "--recursive"}
	err := w.do(ctx, append(update, "--depth=1")...)
	var failed *Error
	if err == nil || !errors.As(err, &failed) || failed.Reason != Unknown && failed.Reason != NoRef {
		return err
	}
	w.said.Truncate(before)
	// A shallow submodule would stay one.
	_ = w.do(ctx, "submodule", "--quiet", "deinit", "--force", "--all")
	if err := os.RemoveAll(filepath.Join(w.Dir, ".git", "modules")); err != nil {
		return err
	}
	return w.do(ctx, update...)
}

// do runs git; but for cloning, in the clone.
func (w *work) do(ctx context.Context, args ...string) error {
	said := phase.NewCapture(maxSaid)
	return w.call(ctx, said, said, args)
}

// ask runs git in the clone and gives its answer.
func (w *work) ask(ctx context.Context, args ...string) (string, error) {
	answer, said := phase.NewCapture(maxSaid), phase.NewCapture(maxSaid)
	if err := w.call(ctx, answer, said, args); err != nil {
		return "", err
	}
	return strings.TrimSpace(string(answer.Bytes())), nil
}

func (w *work) call(ctx context.Context, stdout, stderr *phase.Capture, args []string) error {
	dir := w.Dir
	if args[0] == "clone" {
		dir = filepath.Dir(w.Dir)
	}
	args = append([]string{"-c", "advice.detachedHead=false"}, args...)
	status, err := phase.Command{
		Path: w.git, Args: args, Dir: dir, Env: w.env, Stdout: stdout, Stderr: stderr,
	}.Run(ctx)
	_, _ = w.said.Write(stderr.Bytes())
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		return &Error{Reason: Unknown, Cause: string(w.redact.apply([]byte(err.Error())))}
	}
	if status != 0 {
		return w.failure(status, stderr.Bytes())
	}
	return nil
}

func (w *work) failure(status int, said []byte) error {
	told := w.redact.apply(said)
	return &Error{Reason: reasonOf(told), Status: status, Cause: end(told)}
}

// end is what was said last, as one line.
func end(text []byte) string {
	const enough = 500
	text = bytes.TrimSpace(text)
	text = text[max(0, len(text)-enough):]
	return strings.Join(strings.Fields(strings.ToValidUTF8(string(text), "\uFFFD")), " ")
}

// forget removes what git keeps beside the files: it holds the URL, and a buildpack that was packed has none either.
func forget(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != ".git" {
			return err
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if entry.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
}
