package registrar

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/internal/routing"
)

// run sends until Close.
func (r *Registrar) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
		now := time.Now()
		timer.Reset(r.pass(now))
	}
}

const (
	// flushTimeout bounds the wait for NATS to have what was sent.
	flushTimeout = 2 * time.Second
	// confirmAgain is between two such waits.
	confirmAgain = time.Second
	// idlePause is until the next look where nothing is to be said: a connection or a change comes before.
	idlePause = time.Minute
	// awayPause is between two looks why there is no connection.
	awayPause = time.Second
)

// pass sends what is due, and tells in what time something will be.
func (r *Registrar) pass(now time.Time) time.Duration {
	if r.nats.IsClosed() {
		r.reopen()
	}
	if !r.nats.IsConnected() {
		// The client does not tell of a server that refuses it while it tries on. connected has pass called.
		if err := r.nats.LastError(); err != nil {
			r.disconnected(r.nats, err)
		}
		return awayPause
	}
	// A count that has not changed in the end tells that all went over one connection.
	connection := r.nats.Stats().Reconnects
	r.mu.Lock()
	greet := r.fresh
	if r.fresh {
		r.fresh = false
		clear(r.routers) // they say it again
		r.table.again()
	}
	unregisters, unconfirmed := r.table.takeUnsent(connection)
	registers, next := r.table.takeDue(now, r.every())
	r.table.forget(now)
	r.mu.Unlock()

	if greet { // with an object: gorouter reads whatever comes to router.* as one, and logs what is none as an error
		r.report(r.nats.PublishRequest(routing.SubjectGreet, r.inbox, []byte("{}")))
	}
	// First: an address that was taken back may have been given to another instance.
	r.publish(routing.SubjectUnregister, unregisters)
	r.publish(routing.SubjectRegister, registers)
	wait := idlePause
	if !next.IsZero() {
		wait = min(wait, time.Until(next))
	}
	if len(unconfirmed) == 0 {
		return wait
	}
	if r.nats.FlushTimeout(flushTimeout) != nil || r.nats.Stats().Reconnects != connection {
		return min(wait, confirmAgain)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.table.confirm(unconfirmed)
	return wait
}

// reopen makes another client in the place of one that has given up: it does so where a server ends a connection for a reason that
// it does not know, such as a message that is longer than the server takes since it read its configuration anew.
func (r *Registrar) reopen() {
	r.disconnected(r.nats, r.nats.LastError())
	if !pause.For(r.ctx, awayPause) { // it may go on so
		return
	}
	r.mu.Lock()
	r.fresh = true // the new client counts its connections from the beginning
	r.mu.Unlock()
	if err := r.connect(); err != nil {
		r.disconnected(r.nats, err)
	}
}

func (r *Registrar) publish(subject string, payloads [][]byte) {
	for _, payload := range payloads {
		err := r.nats.Publish(subject, payload)
		if errors.Is(err, nats.ErrMaxPayload) { // of this one alone: the others go
			r.log.Error("routers cannot be told of routes that are longer than NATS takes", "bytes", len(payload), "most", r.nats.MaxPayload())
			continue
		}
		if err != nil {
			r.report(err)
			return
		}
	}
}

// report tells of an error that is no lost connection: that is told elsewhere, and what was to be said is said on the next.
func (r *Registrar) report(err error) {
	if err != nil && r.nats.IsConnected() && r.ctx.Err() == nil {
		r.log.Error("routers cannot be told", "error", err)
	}
}
