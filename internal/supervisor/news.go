package supervisor

import (
	"context"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/pause"
)

// outcome is how an instance came to its end, and by which signal that is told.
type outcome struct {
	signal api.Signal[api.InstanceExit]
	exit   api.InstanceExit
}

// news is what the workflow of a looked-after instance has yet to hear. There is no queue: an older readiness that was
// not delivered is worth nothing beside a newer one, and nothing is worth anything beside the end.
//
//	ready -- Readied --> the newest is told until it is heard: a loss at once, a regain readyGap after the loss
//	outcome -- the first of exited and unhealthy --> told until it is heard, and then nothing any more
type news struct {
	// outcome is nil while the instance lives.
	outcome *outcome
	// heard is the readiness that the workflow knows; only where it is sure: a signal that failed may have arrived.
	heard, sure bool
	// lost is when the workflow was told last that its instance is not ready; zero while it was not.
	lost time.Time
	// over is set when the outcome was heard.
	over bool
	// delivering is set while a goroutine delivers.
	delivering bool
}

// adopt makes the watched instance one that is looked after; false when it is already.
func (w *Watch) adopt(instance Instance) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.adopted {
		return false
	}
	if w.routes != nil {
		w.routes.give(&instance)
	}
	w.adopted, w.about = true, instance
	w.news.heard, w.news.sure = instance.Ready, true
	select {
	case <-w.done:
		w.hide()
		w.concludeLocked(outcome{api.SignalInstanceExited, w.exit})
	default:
		w.show()
	}
	return true
}

// lookedAfter gives what is known of an instance that is looked after and has not ended.
func (w *Watch) lookedAfter() (Instance, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.done:
		return Instance{}, false
	default:
		return w.about.clone(), w.adopted
	}
}

// isAdopted tells whether the instance is looked after, ended or not.
func (w *Watch) isAdopted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.adopted
}

// toldReady is the readiness that the workflow was told last.
func (w *Watch) toldReady() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.news.heard
}

// route keeps what routes the instance has now, or is to have once it is looked after.
func (w *Watch) route(to routes) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.adopted {
		to.give(&w.about)
		w.show()
	} else {
		w.routes = to.after(w.routes)
	}
}

// setReady keeps what the readiness check has found.
func (w *Watch) setReady(ready bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.news.outcome == nil {
		w.about.Ready = ready
		w.show()
	}
}

// conclude keeps the first outcome.
func (w *Watch) conclude(o outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.concludeLocked(o)
}

func (w *Watch) concludeLocked(o outcome) {
	if w.news.outcome == nil {
		w.news.outcome = &o
		w.about.Ready = false
		w.show()
	}
}

// end closes Done, with the exit that the instance's workflow is told if it is looked after.
func (w *Watch) end(exit api.InstanceExit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.exit = exit
	close(w.done)
	w.hide()
	if w.adopted {
		w.concludeLocked(outcome{api.SignalInstanceExited, exit})
	}
}

// deliver has a goroutine tell the workflow what there is to tell, unless one does.
func (s *Supervisor) deliver(w *Watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.news.delivering {
		select {
		case w.stirred <- struct{}{}:
		default:
		}
		return
	}
	w.news.delivering = true
	s.running.Go(func() { s.tellAll(w) })
}

// tellAll signals the newest until there is nothing to tell, or the watch ends.
func (s *Supervisor) tellAll(w *Watch) {
	wait := firstPause
	for {
		tell, in := w.next()
		if in > 0 {
			if !w.awaitNews(in) {
				return
			}
			continue
		}
		if tell == nil {
			return
		}
		err := tell(w.ctx, s)
		if err == nil {
			wait = firstPause
			continue
		}
		if wait == firstPause && w.ctx.Err() == nil {
			s.log.Warn("an instance's workflow cannot be told, trying on", "instance", w.instance, "error", err)
		}
		if !pause.For(w.ctx, wait) {
			return
		}
		wait = min(wait*2, longestPause)
	}
}

// awaitNews waits until there may be other news, or what there is may be told; false when the watch ends first.
func (w *Watch) awaitNews(in time.Duration) bool {
	timer := time.NewTimer(in)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.stirred:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// readyGap is how long after a loss of readiness a regain is told at the earliest. Of an instance that flaps its workflow
// then hears two changes in that time at most, whatever the interval of its check: each costs the histories of the
// instance and of its app some events. It holds nobody's routes up who is ready for the first time.
const readyGap = 5 * time.Second

// next is what to tell, and in what time it may be told. It is nil when there is nothing: then whoever delivers stops.
func (w *Watch) next() (tell func(context.Context, *Supervisor) error, in time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := &w.news
	switch {
	case n.outcome != nil && !n.over:
		return w.tellOutcome, 0
	case n.outcome == nil && w.adopted && (n.heard != w.about.Ready || !n.sure):
		if w.about.Ready && !n.lost.IsZero() {
			in = max(0, readyGap-time.Since(n.lost))
		}
		return w.tellReadiness, in
	default:
		n.delivering = false
		return nil, 0
	}
}

func (w *Watch) tellOutcome(ctx context.Context, s *Supervisor) error {
	w.mu.Lock()
	o := *w.news.outcome
	w.mu.Unlock()
	if err := s.signalEnd(ctx, w.instance, o); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news.over = true
	return nil
}

func (w *Watch) tellReadiness(ctx context.Context, s *Supervisor) error {
	w.mu.Lock()
	ready, now := w.about.Ready, time.Now()
	w.news.heard, w.news.sure = ready, false
	if !ready {
		w.news.lost = now
	}
	w.mu.Unlock()
	id := api.InstanceWorkflowID(w.instance)
	err := api.SignalInstanceReadiness.Send(ctx, s.temporal, id, api.InstanceReadiness{Ready: ready, At: now})
	if err != nil && !isNotFound(err) {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.news.sure = true
	return nil
}

// signalEnd tells a workflow once how its instance came to its end. One that is closed wants to hear nothing.
func (s *Supervisor) signalEnd(ctx context.Context, instance string, o outcome) error {
	err := o.signal.Send(ctx, s.temporal, api.InstanceWorkflowID(instance), o.exit)
	if isNotFound(err) {
		return nil
	}
	if err == nil {
		s.log.Info("instance ended", "instance", instance, "signal", o.signal.Name(),
			"status", o.exit.Status, "description", o.exit.Description)
	}
	return err
}
