package drain

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/internal/applog"
	"github.com/durable-dea/dea/internal/gate"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/internal/syslog"
)

const (
	// firstPoll and longestPoll are between two looks for new lines: the first after some came, the last when none come.
	firstPoll   = 50 * time.Millisecond
	longestPoll = 2 * time.Second
	// firstRetry and longestRetry are between two tries to reach a drain, but for a random part.
	firstRetry   = 100 * time.Millisecond
	longestRetry = 30 * time.Second
	// endPause is between two looks once the instance has ended.
	endPause = 20 * time.Millisecond
	// absence is how long a directory may not be there yet.
	absence = time.Minute
	// sayEvery is between two words in the worker's log on what one drain does not take, and on what it has lost: both are
	// in the hands of whoever has an app, or a drain.
	sayEvery = 10 * time.Minute
	// maxRecords are read at once, of applog.MaxRead bytes at most.
	maxRecords = 64
	// lastWords is how many of the last lines are sent rather than what is before them when the time for an end is half over.
	lastWords = 200
	// maxRate bounds how fast one drain of a running instance is sent lines, in bytes a second, of which lineCost are added for
	// each: its launcher lets far less through, but an app can write to its log itself, and the worker is for all.
	maxRate  = 16 << 20
	lineCost = 100
	// paceSlack is for how long it may be faster.
	paceSlack = 100 * time.Millisecond
)

// follower sends the lines of one instance to one drain. All but what mu guards is for its own goroutine.
type follower struct {
	target
	place  applog.Place
	reader *applog.Reader
	// words make messages of the instance, own those of the drain.
	words, own *syslog.Writer
	dialer     dialer
	maxAge     time.Duration
	// slots bound how many send at once, in all and for app.
	slots  *gate.Gate
	app    string
	totals *totals
	log    hclog.Logger

	connection *connection
	sent       sent
	// unsaid is lost before what the reader reads next.
	unsaid loss
	// counted is what the batch that is being written counts for.
	counted counts
	buffer  []byte

	// nap is nil while the reader looks for lines itself.
	nap *nap
	// poll and retry are the next pauses.
	poll, retry time.Duration
	// failing is set while the drain takes nothing as far as the worker's log has it, and said is when that was logged last.
	failing bool
	said    time.Time
	// unlogged is lost and said to the drain, and not in the worker's log yet; logged is when something was last.
	unlogged loss
	logged   time.Time
	// absent is since when there is no directory; zero when there is, or was, one. gone is set once there will be none.
	absent time.Time
	gone   bool
	// seen is how far the reader had come when something was to be sent again.
	seen applog.Position

	// ended has an element when the instance has ended; from then on over is set, and hurry is when only its last lines
	// are sent; hurried is set where the reader is at those.
	ended   chan time.Time
	over    bool
	hurry   time.Time
	hurried bool
	// paced is until when maxRate allows for what was sent.
	paced time.Time

	mu sync.Mutex
	// taken is how far the drain has come for certain; dirty is set when that is not kept on disk.
	taken progress
	dirty bool
}

// run goes on until ctx ends, or all has been sent after the instance's end. What it then has not sent is lost if errOver is
// why ctx has ended.
func (f *follower) run(ctx context.Context) {
	f.unsaid = f.taken.Unsaid
	f.reader = applog.New(f.place, f.taken.Position)
	f.totals.drains.Add(1)
	leave := f.admit(ctx)
	defer func() {
		f.settle(time.Now())
		f.leave()
		leave()
		f.logLoss(0)
		if f.gone || errors.Is(context.Cause(ctx), errOver) {
			f.abandon()
		}
		f.wake()
		f.reader.Close()
		f.totals.drains.Add(-1)
	}()
	for ctx.Err() == nil && !f.gone && f.step(ctx) {
		f.settle(time.Now().Add(-settleTime))
	}
}

// slotPoll is how often one that waits looks whether another has ended.
const slotPoll = time.Second

// admit waits until no more drains than may be are sent to, or ctx ends, or there is no container any more. Nothing is lost while
// it waits that the log keeps.
func (f *follower) admit(ctx context.Context) (leave func()) {
	leave, ok := f.slots.Enter(f.app)
	if ok {
		return leave
	}
	f.totals.waiting.Add(1)
	defer f.totals.waiting.Add(-1)
	f.log.Warn("a syslog drain waits for another one to end, as no more of its app, or of all, are sent to at once")
	for there := false; ; {
		root, err := f.place.Open()
		if err == nil {
			there = root.Close() == nil
		} else if f.gone = f.isGone(err) || there && errors.Is(err, fs.ErrNotExist); f.gone {
			break
		}
		if !pause.For(ctx, slotPoll) {
			break
		}
		if leave, ok = f.slots.Enter(f.app); ok {
			f.log.Info("a syslog drain has waited for another one to end, and is sent to now")
			return leave
		}
	}
	return func() {}
}

// step does what is next; false when there is nothing left to do.
func (f *follower) step(ctx context.Context) bool {
	select {
	case f.hurry = <-f.ended:
		f.end()
	default:
	}
	if f.connection != nil && f.connection.isBroken() {
		f.broke(ctx, ErrClosed)
		return true
	}
	records, err := f.read()
	switch {
	case errors.Is(err, io.EOF):
		if f.flush(ctx) {
			f.settle(time.Now())
			if len(f.sent.batches) == 0 {
				return false
			}
			f.pause(ctx, endPause)
		}
	case err != nil:
		if f.gone = f.isGone(err); f.gone {
			return false
		}
		f.idle(ctx)
	case len(records) == 0:
		if f.flush(ctx) {
			f.idle(ctx)
		}
	default:
		f.poll, f.absent = 0, time.Time{}
		f.deliver(ctx, records)
		f.pace(ctx, records)
	}
	return true
}

// pace waits until maxRate allows for records.
func (f *follower) pace(ctx context.Context, records []applog.Record) {
	size := applog.Size(records) + lineCost*int64(len(records))
	if earliest := time.Now().Add(-paceSlack); f.paced.Before(earliest) {
		f.paced = earliest
	}
	f.paced = f.paced.Add(time.Duration(size) * time.Second / maxRate)
	if wait := time.Until(f.paced); wait > 0 && !f.over {
		f.pause(ctx, wait)
	}
}

// read returns the next records, none when there are none now.
func (f *follower) read() ([]applog.Record, error) {
	if f.over && !f.hurried && !time.Now().Before(f.hurry) {
		if err := f.skipToLast(); err != nil {
			return nil, err
		}
	}
	if f.nap != nil {
		if !f.nap.isDisturbed() {
			return nil, nil
		}
		f.wake()
	}
	if !f.reader.Changed() {
		return nil, nil
	}
	var next *nap
	if f.poll == longestPoll {
		next = newNap(f.place)
	}
	records, err := f.reader.Read(maxRecords)
	if next != nil && err == nil && len(records) == 0 {
		f.reader.Close()
		f.nap = next
	} else {
		next.end()
	}
	return records, err
}

// wake has the reader look itself again.
func (f *follower) wake() {
	f.nap.end()
	f.nap = nil
}

// idle waits until there may be something.
func (f *follower) idle(ctx context.Context) {
	f.buffer = nil
	f.poll = min(max(2*f.poll, firstPoll), longestPoll)
	f.pause(ctx, f.poll)
}

// pause waits, unless the instance ends or the connection breaks meanwhile.
func (f *follower) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	var broken <-chan struct{}
	if f.connection != nil {
		broken = f.connection.broken
	}
	select {
	case <-timer.C:
	case <-broken:
	case <-ctx.Done():
	case f.hurry = <-f.ended:
		f.end()
	}
}

// rewind has the reader go on from a position.
func (f *follower) rewind(to applog.Position) {
	f.wake()
	f.reader.Close()
	f.reader, f.hurried = applog.New(f.place, to), false
}

// broke has everything sent again that may not have been taken, after a pause unless the drain only ended a connection of
// which it had taken all, and over which nothing was about to be sent: one that accepts and closes at once is away.
func (f *follower) broke(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	by := time.Now().Add(-settleTime)
	ended := errors.Is(err, ErrClosed) && f.connection != nil && f.connection.hasEnded() // not reset while it was sent to
	if ended {
		by = time.Now()
	}
	f.settle(by)
	idle := ended && len(f.sent.batches) == 0
	f.leave()
	f.sent, f.buffer, f.seen = sent{}, nil, f.reader.Position()
	f.rewind(f.taken.Position)
	f.unsaid, f.counted = f.taken.Unsaid, counts{}
	if idle {
		return
	}
	f.sayFailure(err)
	longest := longestRetry
	if f.over {
		longest = firstRetry // with a hundred others, each of which looks a name up
	}
	f.retry = min(max(2*f.retry, firstRetry), longest)
	f.pause(ctx, f.retry/2+rand.N(f.retry))
}

// leave closes the connection.
func (f *follower) leave() {
	if f.connection != nil {
		f.connection.close()
		f.connection = nil
	}
}

func (f *follower) sayFailure(err error) {
	if time.Since(f.said) < sayEvery {
		return
	}
	f.failing, f.said = true, time.Now()
	f.log.Warn("a syslog drain takes no lines, trying on", "error", err)
}

// logLoss tells the worker's log what was lost, but not again within a time.
func (f *follower) logLoss(again time.Duration) {
	if f.unlogged == (loss{}) || time.Since(f.logged) < again {
		return
	}
	f.log.Warn("lines are lost on their way to a syslog drain", "lines", f.unlogged.Lines, "bytes", f.unlogged.Bytes)
	f.unlogged, f.logged = loss{}, time.Now()
}

// settle counts what was written by a time and is taken by now.
func (f *follower) settle(by time.Time) {
	if f.connection == nil || len(f.sent.batches) == 0 {
		return
	}
	f.sent.settle(f.connection.taken(), by, func(b batch) {
		f.totals.add(b.counts)
		f.unlogged.add(b.counts.lost)
		f.mu.Lock()
		f.taken, f.dirty = b.reached, true
		f.mu.Unlock()
		f.retry = 0
		if f.failing {
			f.failing = false
			f.log.Info("a syslog drain takes lines again")
		}
	})
	f.logLoss(sayEvery)
}

// begin says how far the drain has come before.
func (f *follower) begin(from progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken = from
}

// forgot has progress be news again: it could not be kept.
func (f *follower) forgot() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dirty = true
}

// progress is how far the drain has come for certain, and whether that is news since the last call.
func (f *follower) progress() (taken progress, news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news = f.dirty
	f.dirty = false
	return f.taken, news
}
