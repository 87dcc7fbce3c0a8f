package activities

import (
	"context"
	"sync"
	"sync/atomic"
)

// TransferProgress is how far an activity's transfers are, all of them together, in bytes. Total is -1 while it is not
// known.
type TransferProgress struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

type progressKey struct{}

// withProgress gives a context in which the progress that is reported is kept.
func withProgress(ctx context.Context) context.Context {
	return context.WithValue(ctx, progressKey{}, new(atomic.Pointer[TransferProgress]))
}

// reportProgress keeps the progress in the context, if that can keep any.
func reportProgress(ctx context.Context, p TransferProgress) {
	if last, ok := ctx.Value(progressKey{}).(*atomic.Pointer[TransferProgress]); ok {
		last.Store(&p)
	}
}

// currentProgress is what was reported last; false when nothing was.
func currentProgress(ctx context.Context) (TransferProgress, bool) {
	if last, ok := ctx.Value(progressKey{}).(*atomic.Pointer[TransferProgress]); ok {
		if p := last.Load(); p != nil {
			return *p, true
		}
	}
	return TransferProgress{}, false
}

// transfers sums up the progress of several transfers and reports it.
type transfers struct {
	ctx context.Context
	mu  sync.Mutex
	all []*transfer
}

// transfer is one of them.
type transfer struct {
	of       *transfers
	progress TransferProgress
}

// add begins a transfer; as long as its size is not known, that of all is not.
func (t *transfers) add() *transfer {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := &transfer{of: t, progress: TransferProgress{Total: -1}}
	t.all = append(t.all, one)
	return one
}

func (t *transfers) report() {
	var sum TransferProgress
	for _, one := range t.all {
		sum.Done += one.progress.Done
		if one.progress.Total < 0 || sum.Total < 0 {
			sum.Total = -1
			continue
		}
		sum.Total += one.progress.Total
	}
	reportProgress(t.ctx, sum)
}

// moved takes the bytes so far and those of the whole, -1 when they are not known.
func (one *transfer) moved(done, total int64) {
	one.of.mu.Lock()
	defer one.of.mu.Unlock()
	one.progress = TransferProgress{Done: done, Total: total}
	one.of.report()
}

// over ends the transfer, also one that failed or was not needed: no more comes.
func (one *transfer) over() {
	one.of.mu.Lock()
	defer one.of.mu.Unlock()
	one.progress.Total = one.progress.Done
	one.of.report()
}
