// Package appfiles finds an instance of an app and shows what is in its directory: a directory's entries, a file's
// content, or a file as it is written. What is kept of an instance that crashed is shown, too.
package appfiles

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/starter/internal/tail"
)

// away is the pause before a node that does not answer is asked again.
const away = time.Second

// Reader reads the files of instances. All fields are required.
type Reader struct {
	Controller *controller.Client
	Files      *tail.Client
	// Warn takes what the user should know while a file is followed.
	Warn func(string)
}

// Find is the instance of an app's that has an index: the one that runs, else one that lives, else the newest. Fails with
// controller.ErrNoSuchApp or controller.ErrNoSuchInstance.
func (r *Reader) Find(ctx context.Context, app string, index int) (api.InstanceStatus, error) {
	found, err := r.Controller.FindInstances(ctx, api.InstanceFilter{AppID: app, Indices: []int{index}})
	if len(found) > 0 {
		return best(found), nil // of those that could not be asked nothing is known
	}
	if err == nil {
		_, err = r.Controller.App(ctx, app)
	}
	if err != nil {
		return api.InstanceStatus{}, err
	}
	return api.InstanceStatus{}, &controller.Error{
		Kind: controller.ErrNoSuchInstance, Words: fmt.Sprintf("%s has no instance %d now", app, index),
		Next: "`starter ps " + app + "` lists those that it has",
	}
}

// best is the instance whose files are wanted, of several with one index, of which there is one at least.
func best(found []api.InstanceStatus) api.InstanceStatus {
	rank := func(i api.InstanceStatus) int {
		switch {
		case i.State == api.StateRunning:
			return 2
		case i.State.Alive() && i.FilesURL != "":
			return 1
		default:
			return 0
		}
	}
	chosen := found[0]
	for _, one := range found[1:] {
		if by := rank(one) - rank(chosen); by > 0 || by == 0 && one.Since.After(chosen.Since) {
			chosen = one
		}
	}
	return chosen
}

// place is one path of one instance.
type place struct {
	*Reader
	instance api.InstanceStatus
	path     string
}

func (p *place) url(follow bool) string {
	return p.Controller.FileURL(controller.InstanceFiles, p.instance.InstanceID, p.instance.FilesURL, p.path, follow)
}

// Open opens what an instance has at a path, relative to its home directory; the caller closes it. byteRange is as
// tail.Client's. Fails of what tail's functions do, in words of a *controller.Error.
func (r *Reader) Open(ctx context.Context, instance api.InstanceStatus, path, byteRange string) (*tail.Content, error) {
	p := &place{Reader: r, instance: instance, path: path}
	var content *tail.Content
	err := p.try(ctx, func() (err error) {
		content, err = r.Files.Open(ctx, func() string { return p.url(false) }, byteRange)
		return err
	})
	return content, err
}

// Follow hands the last lines of a file to emit, and then each line that is written, until the instance's directory is gone,
// which is no failure, or ctx ends.
func (r *Reader) Follow(ctx context.Context, instance api.InstanceStatus, path string, lines int, emit func(string)) error {
	p := &place{Reader: r, instance: instance, path: path}
	var from tail.Position
	err := p.try(ctx, func() error {
		end, err := r.Files.Last(ctx, p.url(false), lines)
		if err != nil {
			return err
		}
		for _, line := range end.Lines {
			emit(line)
		}
		from.Offset = end.Offset
		return nil
	})
	if err != nil {
		return err
	}
	return p.follow(ctx, from, emit)
}

// follow goes on through restarts of the node's worker.
func (p *place) follow(ctx context.Context, from tail.Position, emit func(string)) error {
	for told := false; ; {
		var err error
		from, err = p.Files.Follow(ctx, func() string { return p.url(true) }, from, emit)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, tail.ErrUnreachable):
			return p.explain(err)
		}
		if now, err := p.Controller.Instance(ctx, p.instance.InstanceID); errors.Is(err, controller.ErrNoSuchInstance) ||
			err == nil && now.State.Ended() {
			return nil
		}
		if !told {
			p.Warn(tail.ErrUnreachable.Error() + "; waiting for it")
		}
		told = true
		if !pause.For(ctx, away) {
			return ctx.Err()
		}
		p.moved(ctx)
	}
}

// try does something, again where the node serves its files elsewhere by now, and explains what it failed of.
func (p *place) try(ctx context.Context, do func() error) error {
	if p.instance.FilesURL == "" {
		return p.explain(tail.ErrNotYet)
	}
	err := do()
	if errors.Is(err, tail.ErrUnreachable) && p.moved(ctx) {
		err = do()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return p.explain(err)
}

// moved tells whether the node serves its files at another place than the one known, as after a restart of its worker.
func (p *place) moved(ctx context.Context) bool {
	now := p.Controller.CurrentFilesURL(ctx, p.instance.Node, p.instance.FilesURL)
	if now == p.instance.FilesURL {
		return false
	}
	p.instance.FilesURL = now
	return true
}

// explain puts what failed into words that say what to do.
func (p *place) explain(err error) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf("/%s of instance %s", strings.Trim(p.path, "/"), p.instance.InstanceID)
	say := func(kind error, words, next string) error {
		return &controller.Error{Kind: kind, Words: words, Next: next, Cause: err}
	}
	list := fmt.Sprintf("`starter files --instance %s%s` lists what is there", p.instance.InstanceID, p.above())
	switch {
	case errors.Is(err, tail.ErrNotYet):
		return say(tail.ErrNotYet, what+": the instance has no files yet", "try again when `starter ps` shows that it runs")
	case errors.Is(err, tail.ErrNotThere) && p.instance.State.Ended():
		return say(tail.ErrNotThere, what+" is not there: the instance has ended, and only the logs of the last crash are kept, for a while", "")
	case errors.Is(err, tail.ErrNotThere) && p.atHome():
		return say(tail.ErrNotThere, what+" is not there any longer", "`starter instances` lists what an app has")
	case errors.Is(err, tail.ErrNotThere):
		return say(tail.ErrNotThere, what+" is not there", list)
	case errors.Is(err, tail.ErrDirectory):
		return say(tail.ErrDirectory, what+" is a directory, and only a file can be followed", "leave --follow out to list it")
	case errors.Is(err, tail.ErrNotReadable):
		return say(tail.ErrNotReadable, what+" is not shown: it is no plain file, or leads out of the instance's directory", list)
	case errors.Is(err, tail.ErrUnreachable):
		return say(tail.ErrUnreachable, what+": "+err.Error(), "`starter nodes` shows whether node "+p.instance.Node+" is there, and where it serves files")
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

func (p *place) atHome() bool { return strings.Trim(p.path, "/.") == "" }

// above is the directory of the path, as an argument that follows another; "" for the home directory.
func (p *place) above() string {
	switch above := path.Dir(strings.Trim(p.path, "/")); above {
	case ".", "/", "..":
		return ""
	default:
		return " " + above
	}
}
