package workflows

import "go.temporal.io/sdk/workflow"

// settled tells whether a run may end now, or continue as new, by mayEnd, which must say that nothing is in hand and no
// signal waits in its channel. That alone is not enough: a signal that a coroutine was waiting for is handed to it at
// once and counts in no channel, while that coroutine has yet to run; a run that ends meanwhile takes the signal with
// it. So every other coroutine gets its turn first, and then mayEnd is asked again.
func settled(ctx workflow.Context, mayEnd func() bool) bool {
	if !mayEnd() {
		return false
	}
	ctx, _ = workflow.NewDisconnectedContext(ctx) // One that is cancelled has to settle as well.
	turn := false
	// The last in the row of coroutines, so that all others have had their turn when it has its own.
	workflow.Go(ctx, func(workflow.Context) { turn = true })
	_ = workflow.Await(ctx, func() bool { return turn })
	return mayEnd()
}
