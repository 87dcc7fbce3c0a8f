package activities

import (
	"context"
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
