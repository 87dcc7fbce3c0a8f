package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/pause"
)

// starting lets TERM, INT and QUIT end a worker that does not work yet: it may wait for Warden or for Temporal as long as
// those are away. The returned function ends that, and leaves signals to obey.
func (a *agent) starting(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-ctx.Done():
				return
			case s := <-a.signals:
				if s == syscall.SIGUSR1 || s == syscall.SIGUSR2 {
					a.log.Warn("not working yet; the signal is left out", "signal", s)
					continue
				}
				cancel()
			}
		}
	}()
	return ctx, sync.OnceFunc(func() { close(stop); <-stopped })
}

// obey carries out what signals tell until one has ended the worker:
//
//	TERM, INT  end; instances run on, or are stopped first, as on_stop says
//	QUIT       stop all instances, then end
//	USR1       take no new work
//	USR2       have all instances replaced elsewhere, then end
//
// What is still to be done before the end gives way to a newer signal, and to nothing at a second TERM or INT.
func (a *agent) obey(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	giveWay := func() {}
	var done chan struct{}
	begin := func(do func(context.Context)) {
		giveWay()
		doing, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() { defer close(ended); do(doing) }()
		giveWay = func() { cancel(); <-ended }
		done = ended
	}
	defer func() { giveWay() }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-done: // nil, and so never, while there is nothing to be done.
			return
		case s := <-a.signals:
			switch told := s == syscall.SIGTERM || s == syscall.SIGINT; {
			case s == syscall.SIGUSR1:
				go a.leave(ctx) // Temporal may be away: other signals are taken meanwhile.
			case s == syscall.SIGUSR2:
				begin(a.evacuate)
			case s == syscall.SIGQUIT, told && done == nil && a.node.OnStop == config.OnStopStop:
				begin(a.stopAll)
			default:
				a.log.Info("ending; instances run on for the next worker of this node", "signal", s)
				return
			}
		}
	}
}

// leave keeps new work off the node until its next worker.
func (a *agent) leave(ctx context.Context) {
	drained := a.insist(ctx, "keep new work off", func(ctx context.Context) error {
		_, err := api.UpdateDrain.Call(ctx, a.temporal, api.NodeWorkflowID(a.id), uuid.NewString(),
			api.DrainRequest{Draining: true, UntilRestart: true})
		return err
	})
	if drained {
		a.log.Info("taking no new work; the next worker of this node takes work again")
	}
}

// evacuate has every instance replaced elsewhere and waits until none is left. Each ends by itself when it was not
// replaced in time: see api.EvacuateInstance. Stagings end as they do.
func (a *agent) evacuate(ctx context.Context) {
	a.log.Info("evacuating: instances are replaced on other nodes", "bail_out", a.node.EvacuationBailOut)
	limited, cancel := context.WithTimeout(ctx, a.node.EvacuationBailOut+stopPatience)
	defer cancel()
	a.insist(limited, "evacuate", func(ctx context.Context) error {
		_, err := api.UpdateEvacuate.Call(ctx, a.temporal, api.NodeWorkflowID(a.id), uuid.NewString(),
			api.EvacuateRequest{Reason: "its worker was told to evacuate"})
		return err
	})
	if a.awaitEmpty(limited, func(api.Reservation) bool { return true }) {
		a.log.Info("evacuated; ending")
	}
}

// stopAll stops every instance gracefully and waits until none is left. Their apps start others elsewhere.
func (a *agent) stopAll(ctx context.Context) {
	a.log.Info("stopping all instances")
	limited, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	a.leave(limited)
	told := map[string]bool{}
	empty := a.awaitEmpty(limited, func(r api.Reservation) bool {
		if r.Kind != api.KindInstance {
			return false
		}
		if !told[r.ID] {
			err := api.SignalStopInstance.Send(limited, a.temporal, r.Workflow,
				api.StopInstance{Reason: "its node's worker was told to stop all", TellOwner: true, Node: a.id})
			told[r.ID] = err == nil
		}
		return true
	})
	if empty {
		a.log.Info("all instances are stopped; ending")
	}
}

// stopPatience is how long a worker that ends waits for its instances to stop: hooks, 10 s from TERM to KILL, and some
// for many at once.
const stopPatience = 5 * time.Minute

// emptyPause is between two looks at the ledger.
const emptyPause = 500 * time.Millisecond

// awaitEmpty waits until the ledger holds nothing that counts; false when ctx ends first.
func (a *agent) awaitEmpty(ctx context.Context, counts func(api.Reservation) bool) bool {
	left := -1
	for ctx.Err() == nil {
		ledger, err := api.QueryNode.Ask(ctx, a.temporal, api.NodeWorkflowID(a.id))
		if err != nil {
			a.log.Warn("the node's ledger cannot be read", "error", err)
		} else {
			held := slices.DeleteFunc(ledger.Reservations, func(r api.Reservation) bool { return !counts(r) })
			if len(held) == 0 {
				return true
			}
			if len(held) != left {
				left = len(held)
				a.log.Info("waiting", "left", left)
			}
		}
		pause.For(ctx, emptyPause)
	}
	a.log.Warn("not waiting any longer; what is left runs on for the next worker of this node", "left", left)
	return false
}

// insist tries again until something works, or ctx ends, which is false: Temporal may be away just then.
func (a *agent) insist(ctx context.Context, what string, do func(context.Context) error) bool {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := do(limited)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err == nil
		}
		a.log.Warn("trying again", "error", fmt.Errorf("%s: %w", what, err))
		if !pause.For(ctx, wait) {
			return false
		}
	}
}
