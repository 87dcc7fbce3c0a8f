// Package wait asks again until something works.
package wait

import (
	"context"
	"fmt"
	"time"
)

// For tries until it works, with a pause between two tries. When ctx ends, the error tells why and what was wrong at
// the last try that was not itself cut off.
func For(ctx context.Context, pause time.Duration, try func(context.Context) error) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var last error
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last answer: %w", context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}
