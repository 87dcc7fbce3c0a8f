package activities

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/droplets"
	"github.com/durable-dea/dea/internal/passwd"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// layering knows, for each stack, how a droplet comes into a container: as a layer beneath the container's own root, which
// all instances of the droplet share, or unpacked in each container. What Warden does not take it does not take again: that
// is remembered until the worker ends. The zero value is ready.
type layering struct {
	mu sync.Mutex
	// refusals are what Warden answered, told what was said in the log, both by stack.
	refusals, told map[string]string
}

// refused is why Warden takes no layers on a stack; empty when it has not been asked, or does.
func (l *layering) refused(stack string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refusals[stack]
}

func (l *layering) refuse(stack, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refusals == nil {
		l.refusals = map[string]string{}
	}
	l.refusals[stack] = why
}

// news tells whether something is to be said of a stack that was not what was said last.
func (l *layering) news(stack, what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told == nil {
		l.told = map[string]string{}
	}
	last, said := l.told[stack]
	l.told[stack] = what
	return !said || last != what
}

// vcapOf is the user of a stack whom droplets belong to in containers, or the reason why there can be no layers on it. It is
// looked up each time: an operator may put another stack in its place.
func (c *Containers) vcapOf(stack string) (vcap droplets.Owner, why string) {
	rootfs := c.rootfs(stack)
	switch {
	case rootfs == "":
		return vcap, "the stack has no package_path"
	case strings.Contains(c.config.BaseDir, ":"):
		return vcap, "base_dir has a colon in its name"
	case os.Geteuid() != 0:
		return vcap, "the worker is not root"
	}
	if why := c.layering.refused(stack); why != "" {
		return vcap, why
	}
	user, err := passwd.Of(rootfs, "vcap")
	if err != nil {
		return vcap, "the stack's vcap cannot be read: " + err.Error()
	}
	return droplets.Owner{UID: user.UID, GID: user.GID}, ""
}

// tellWay says in the log, once for a stack, how its droplets come into containers; why is empty for layers.
func (c *Containers) tellWay(stack, why string) {
	switch {
	case !c.layering.news(stack, why):
	case why == "":
		c.log.Info("droplets are unpacked once for the node, as layers", "stack", stack)
	default:
		c.log.Info("droplets are unpacked in each container", "stack", stack, "because", why)
	}
}

// createOnLayer makes the container on the droplet's layer. layered is false when there can be none, and the droplet is to
// be unpacked in a container of the usual kind.
func (s *instanceStart) createOnLayer(ctx context.Context) (layered bool, err error) {
	stack := s.message.Stack
	vcap, why := s.vcapOf(stack)
	if why != "" {
		s.tellWay(stack, why)
		return false, nil
	}
	layer, err := s.cache.Layer(ctx, s.message.SHA1, vcap, droplets.Room{
		Bytes: s.message.Limits.DiskMB * bytesPerMB, Entries: int(s.config.Instance.DiskInodeLimit),
	})
	if err != nil {
		s.droplets.makeRoom(ctx, err)
		return false, layerFault(err)
	}
	if layer.Made {
		s.log.Info("unpacked a droplet", "sha1", s.message.SHA1, "bytes", layer.Bytes, "entries", layer.Entries)
	}
	request := s.createRequest()
	request.Rootfs = proto.String(layer.Dir + ":" + s.rootfs(stack))
	err = s.makeAnew(ctx, request)
	if refusesLayer(err, layer.Dir) {
		if !isDir(layer.Dir) {
			return false, cacheFault("the droplet's layer cannot be used", fmt.Errorf("%w: %w", droplets.ErrGone, err))
		}
		why := "the container server does not take layers: " + err.Error()
		// What else it says may pass: then this container alone does without.
		if errors.Is(err, warden.ErrNoRootfs) && isDir(s.rootfs(stack)) {
			s.layering.refuse(stack, why)
		}
		s.tellWay(stack, why)
		return false, nil
	}
	if err != nil {
		return false, wardenFault("make the container", err)
	}
	s.tellWay(stack, "")
	return true, nil
}

// refusesLayer tells whether Warden refused to make a container because of its layer, and not for another reason: one that
// does not know lists has no such rootfs, and ours names the layer that lies where none can be used.
func refusesLayer(err error, layer string) bool {
	var refused *warden.Error
	return errors.Is(err, warden.ErrNoRootfs) || errors.As(err, &refused) && strings.Contains(refused.Message, layer)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// layerFault is the error of a start whose droplet could not be unpacked: the droplet's fault in the words that a user
// reads when it is unpacked in a container, or the node's.
func layerFault(err error) error {
	var refused *archive.Error
	var tooLarge *droplets.TooLargeError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &refused), errors.As(err, &tooLarge):
		return api.Final(api.ErrStartFailed, api.ExitFailedToStart, err)
	default:
		return cacheFault("the droplet cannot be unpacked", err)
	}
}

// makeAnew makes a container, in place of one that an earlier attempt has left. Its error is Warden's own.
func (s *instanceStart) makeAnew(ctx context.Context, request *wardenpb.CreateRequest) error {
	err := s.makeContainer(ctx, request)
	if !errors.Is(err, warden.ErrHandleInUse) {
		return err
	}
	_, err = s.warden.Destroy(ctx, &wardenpb.DestroyRequest{Handle: s.handle()})
	if err != nil && !errors.Is(err, warden.ErrUnknownHandle) {
		return err
	}
	return s.makeContainer(ctx, request)
}

// releaseDroplet ends what Create began with its claim. A droplet that nobody could use has no use to end.
func (s *instanceStart) releaseDroplet() error {
	err := s.cache.Release(s.id, s.message.SHA1)
	if err != nil && !errors.Is(err, droplets.ErrBadDigest) {
		return nodeFault("the droplet's use cannot be ended", err)
	}
	return nil
}
