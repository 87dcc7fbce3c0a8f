package copytree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ErrFailed is the protocol's one word for every copy that did not succeed. The cause is wrapped beside it.
var ErrFailed = errors.New("command exited with failure")

// Owner is who copies are to belong to, in the host's numbers; -1 leaves the user or group as it is.
type Owner struct{ UID, GID int }

// Mode bits that are copied: all of them, or those that give nobody another's rights.
const (
	allBits  = uint32(0o7777)
	safeBits = uint32(0o1777)
)

// Copy copies source to target, both of the host's own. Owner may be nil: then copies belong to who runs this. The
// setuid and setgid bits are not copied for another owner, whose rights nobody has lent, just as chown takes them away.
// Every error but the context's is ErrFailed.
func Copy(ctx context.Context, source, target string, owner *Owner) error {
	bits := allBits
	if owner != nil {
		bits = safeBits
	}
	return run(ctx, &copier{owner: owner, bits: bits, chownAll: true}, side{}, source, side{}, target)
}

// CopyIn copies hostPath into a container's tree, to path, which is absolute there; without a leading slash it is
// taken from the root, too. Root stays the caller's. What is made belongs to the owner, if it is not nil. A directory
// of the container's that belongs to somebody else is copied into, but keeps its owner and permissions, as it would
// if the owner himself had copied. Every error but the context's is ErrFailed.
func CopyIn(ctx context.Context, hostPath string, root *os.Root, path string, owner *Owner) error {
	inside, err := inRoot(root)
	if err != nil {
		return failed(ctx, err)
	}
	defer inside.close()
	return run(ctx, &copier{owner: owner, bits: allBits}, side{}, hostPath, inside, path)
}

// CopyOut copies path, which is absolute in a container's tree, to hostPath. Root stays the caller's. Copies belong to
// the owner, or to who runs this when it is nil. The setuid and setgid bits are not copied: in the container they gave
// a user of the container's rights, on the host they would give the host's. Every error but the context's is
// ErrFailed.
func CopyOut(ctx context.Context, root *os.Root, path, hostPath string, owner *Owner) error {
	inside, err := inRoot(root)
	if err != nil {
		return failed(ctx, err)
	}
	defer inside.close()
	return run(ctx, &copier{owner: owner, bits: safeBits, chownAll: true}, inside, path, side{}, hostPath)
}

func run(ctx context.Context, c *copier, from side, source string, to side, target string) error {
	c.ctx = ctx
	err := asOwner(c.owner, func() error { return c.top(from, source, to, target) })
	if err == nil {
		return nil
	}
	return failed(ctx, err)
}

func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	return fmt.Errorf("%w: %w", ErrFailed, err)
}

func (c *copier) top(from side, source string, to side, target string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	src, err := from.source(source)
	if err != nil {
		return err
	}
	defer src.dir.close()
	if err := c.checkPlace(src.dir); err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	dst, err := to.target(target, src)
	if err != nil {
		return err
	}
	defer dst.dir.close()
	if err := c.checkPlace(dst.dir); err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	there, err := dst.dir.stat()
	if err != nil {
		return err
	}
	if dst.made {
		if err := c.own(dst.dir.fd(), there); err != nil {
			return err
		}
	}
	if !src.content {
		return c.entry(src.dir, src.name, dst.dir, dst.name)
	}
	c.into = identityOf(there)
	info, err := src.dir.stat()
	if err != nil {
		return err
	}
	return c.fill(src.dir, info, dst.dir, dst.made)
}

// checkPlace refuses a directory of the kernel's own file systems.
func (c *copier) checkPlace(d dir) error {
	info, err := d.stat()
	if err != nil {
		return err
	}
	special, err := c.special(d.fd(), info.Dev)
	if err == nil && special {
		err = &fs.PathError{Op: "copy", Path: d.name(), Err: errKernels}
	}
	return err
}
