package execserver

import (
	"context"
	"time"
)

// cause says why a session ended without its command's end being known, in words for its user.
type cause string

func (c cause) Error() string { return string(c) }

const (
	// errNoEnd: the runner has gone without a word, as when its container stops.
	errNoEnd   cause = "the instance has ended, or its session was ended"
	errLeft    cause = "the client has left"
	errIdle    cause = "the session was idle for too long"
	errTooLong cause = "the session has lasted as long as the node lets one last"
)

// tellTime is how long a client may take to read why its session was ended.
const tellTime = 5 * time.Second

// bound has the session end at the node's limits, until release.
func (s *session) bound() (release func()) {
	s.idle = newIdleness(s.options.IdleTimeout, func() { s.cut(errIdle) })
	if s.options.MaxDuration <= 0 {
		return s.idle.stop
	}
	timer := time.AfterFunc(s.options.MaxDuration, func() { s.cut(errTooLong) })
	return func() {
		s.idle.stop()
		timer.Stop()
	}
}

// cut ends the command, and so the session. A client that reads nothing cannot be told why: it loses its connection, with all
// other sessions of that.
func (s *session) cut(why cause) {
	s.why.CompareAndSwap(nil, &why)
	_ = s.connection.Close()
	time.AfterFunc(tellTime, func() {
		select {
		case <-s.over:
		default:
			s.client.Close()
		}
	})
}

// askTime is how long a client may take to ask for a command: no longer than a connection may be without a session, which would
// otherwise be kept from others where the node's sessions may be idle for ever.
func (s *session) askTime() time.Duration {
	if idle := s.options.IdleTimeout; idle > 0 {
		return min(idle, lingerTime)
	}
	return lingerTime
}

// expect gives a client some time to ask for a command, or to hear that its command has ended; both end ctx. One that does not
// would keep a session from others: it loses its connection. With 0 it has for ever.
func (s *session) expect(ctx context.Context, most time.Duration) {
	if most <= 0 {
		return
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		s.client.Close()
	}
}
