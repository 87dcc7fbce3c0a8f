// Package pause waits for a time that an interrupt can end.
package pause

import (
	"context"
	"time"
)

// For waits, and tells whether the time passed before ctx ended.
func For(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
