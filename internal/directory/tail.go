package directory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/regular"
)

const (
	// minPause and maxPause bound the time between two looks at a file: short after it grew, doubling while it does
	// not. A look is two or three system calls, so hundreds of idle tails cost next to nothing, and unlike watches
	// they take nothing that the kernel has few of.
	minPause = 20 * time.Millisecond
	maxPause = 250 * time.Millisecond
	// pieceBytes is how much of a file is sent at once.
	pieceBytes = 32 << 10
)

// pieces are lent to tails that have something to send; those that wait hold none.
var pieces = sync.Pool{New: func() any { return new([pieceBytes]byte) }}

// Of an answer that follows a file, as its client goes on by.
const (
	// headerTailFile tells the file apart from others that have, or had, its name; headerTailOffset is where in it the answer
	// begins.
	headerTailFile   = "X-Tail-File"
	headerTailOffset = "X-Tail-Offset"
	// trailerTailNext ends an answer for the reason that there is another file to follow.
	trailerTailNext = "X-Tail-Next"
)

// Why a path is not followed.
var (
	errNoTail    = errors.New("only a file can be followed")
	errBadOffset = errors.New("tail_offset is not a number")
	// errNext ends an answer that is of one file alone.
	errNext = errors.New("there is another file to follow")
)

// tail follows a file by its name.
type tail struct {
	root *os.Root
	// place is where root was opened.
	place Place
	name  string
	file  *os.File
	// offset is how far file was read.
	offset int64
	// alone ends the answer where another file, or what a truncated one holds, would be gone on with.
	alone bool
	// patience is how long the reader may take for a piece.
	patience time.Duration
}

func (t *tail) close() { _ = t.file.Close() }

// serve sends what the file holds and what it gets. It returns an error only before anything was sent.
func (t *tail) serve(w http.ResponseWriter, r *http.Request, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errNoTail
	}
	id, err := fileID(t.file)
	if err != nil {
		return err
	}
	// What is kept is a copy.
	same := t.place.Over || isFile(r, id)
	if t.offset, err = startOffset(r, same, info.Size()); err != nil {
		return err
	}
	w.Header().Set("Content-Type", textType)
	w.Header().Set(headerTailFile, id)
	w.Header().Set(headerTailOffset, strconv.FormatInt(t.offset, 10))
	if t.alone = r.URL.Query().Has(paramTailFile); t.alone {
		w.Header().Set("Trailer", trailerTailNext)
	}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	out := newSender(w, t.patience)
	// A server's timeout for a request says nothing of this one, which lasts as long as it is wanted.
	_ = out.control.SetReadDeadline(time.Time{})
	// The client learns at once that it follows, though there may be nothing to send for hours.
	if err = out.flush(); err == nil {
		err = t.follow(r, out)
	}
	switch {
	case errors.Is(err, errNext):
		w.Header().Set(trailerTailNext, "1")
	case err == nil && t.alone: // said as well, since a proxy may drop trailers
		w.Header().Set(trailerTailNext, "0")
	case err != nil:
		// A reader must not take the end of the server, or a fault, for the end of the file: the answer breaks off.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// fileID tells a file from others that have had, or will have, its name: a number of a file's is given again soon after the file
// is gone, but not with the time at which it was made.
func fileID(f *os.File) (string, error) {
	var st unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st)
	if err != nil {
		return "", fmt.Errorf("look at a file: %w", err)
	}
	return fmt.Sprintf("%x-%x-%x.%x", uint64(st.Dev_major)<<32|uint64(st.Dev_minor), st.Ino, st.Btime.Sec, st.Btime.Nsec), nil
}

// isFile tells whether a request does not go on with another file.
func isFile(r *http.Request, id string) bool {
	of := r.URL.Query().Get(paramTailFile)
	return of == "" || of == id
}

// startOffset is where to begin in a file of a size, of which all is new where it is not the same that was read before.
func startOffset(r *http.Request, same bool, size int64) (int64, error) {
	query := r.URL.Query()
	if !query.Has(paramTailOffset) {
		return size, nil
	}
	n, err := strconv.ParseInt(query.Get(paramTailOffset), 10, 64)
	if err != nil {
		return 0, errBadOffset
	}
	if n < 0 {
		return max(size+n, 0), nil
	}
	// Beyond the end: the file was truncated since, and what it has now is new.
	if n > size || !same {
		return 0, nil
	}
	return n, nil
}

// follow sends until the directory is gone, which is nil, or what it sends can go on no longer.
func (t *tail) follow(r *http.Request, out *sender) error {
	pause := minPause
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		// Asked before the file is read: what was written until the directory went is still sent.
		gone := t.place.Over || t.gone()
		sent, err := t.catchUp(r.Context(), out)
		if err != nil || gone {
			return err
		}
		pause = min(2*pause, maxPause)
		if sent {
			pause = minPause
		}
		timer.Reset(pause)
		select {
		case <-r.Context().Done():
			return context.Cause(r.Context())
		case <-timer.C:
		}
	}
}

// gone says whether the directory that was opened is no longer where it was.
func (t *tail) gone() bool {
	root, err := t.place.Open()
	if err != nil {
		why := reason(err) // what cannot be looked at now, for a fault of the node's, may well be there
		return slices.ContainsFunc([]error{errMissing, errOutside, errNoFile, errForbidden}, func(gone error) bool { return errors.Is(why, gone) })
	}
	defer func() { _ = root.Close() }()
	return !regular.SameDirectory(t.root, root)
}

// catchUp sends what there is, of the file and then of one that took its place. It goes on to one such at a time, or an app
// that swaps files for ever would keep it from looking up.
func (t *tail) catchUp(ctx context.Context, out *sender) (sent bool, err error) {
	next, err := t.successor()
	if err != nil {
		return false, err
	}
	// The old one is read after the new one was seen: its last lines were written by then.
	sent, err = t.drain(ctx, out)
	if next == nil || err != nil {
		closeAll(next)
		return sent, err
	}
	if t.alone {
		closeAll(next)
		return true, errNext
	}
	t.close()
	t.file, t.offset = next, 0
	_, err = t.drain(ctx, out)
	return true, err
}

// successor opens the file that has the name now, if it is another than the one followed. A name that is free, or
// taken by something that cannot be read, is waited for.
func (t *tail) successor() (*os.File, error) {
	current, err := t.file.Stat()
	if err != nil {
		return nil, err
	}
	named, err := t.root.Stat(t.name)
	if err != nil || os.SameFile(current, named) {
		return nil, nil //nolint:nilerr // The name is free, for now.
	}
	f, info, err := open(t.root, t.name)
	if err != nil {
		return nil, nil //nolint:nilerr // It may be a file the next time.
	}
	if !info.Mode().IsRegular() {
		closeAll(f)
		return nil, nil
	}
	return f, nil
}

// drain sends the file from the offset to where it ends now, or from its beginning when it was truncated. An app
// that writes faster than the reader reads does not keep the caller from looking up.
func (t *tail) drain(ctx context.Context, out *sender) (sent bool, err error) {
	info, err := t.file.Stat()
	if err != nil {
		return false, err
	}
	if info.Size() < t.offset {
		if t.alone {
			return false, errNext
		}
		t.offset = 0
	}
	if t.offset == info.Size() {
		return false, nil
	}
	piece := pieces.Get().(*[pieceBytes]byte) //nolint:forcetypeassert // there is nothing else in it
	defer pieces.Put(piece)
	for t.offset < info.Size() {
		if err := ctx.Err(); err != nil {
			return sent, err
		}
		n, err := t.file.ReadAt(piece[:], t.offset)
		t.offset += int64(n)
		if n > 0 {
			if err := out.send(piece[:n]); err != nil {
				return true, err
			}
			sent = true
		}
		if errors.Is(err, io.EOF) {
			return sent, nil
		}
		if err != nil {
			return sent, fmt.Errorf("follow a file: %w", err)
		}
	}
	return sent, nil
}

func closeAll(f *os.File) {
	if f != nil {
		_ = f.Close()
	}
}
