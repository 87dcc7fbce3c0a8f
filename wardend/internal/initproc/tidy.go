package initproc

import (
	"runtime/debug"
	"time"
)

// tidier has memory given back when the init has come to rest: it is charged to nobody, and there is an init for each
// container. A collection costs memory of its own, some hundred kilobytes once and for all, so one that has run but a
// few jobs is left alone. Nothing runs while nothing happens. It is guarded by the server's lock.
type tidier struct {
	timer *time.Timer
	// spent is about how much memory was asked for since the last time, in bytes.
	spent int
}

const (
	// perJob is about what a job asks for beside its script, in bytes, and perScript how often a script is copied.
	perJob, perScript = 8 << 10, 4
	// worthTidying is from how many bytes on there is more to be had than it costs.
	worthTidying = 1 << 20
	// tidyAfter is how long no job must have been started or have ended.
	tidyAfter = time.Second
)

// spend notes that a job was started.
func (s *server) spend(spec *SpawnSpec) {
	s.tidier.spent += perJob + perScript*len(spec.Stdin)
	s.rested()
}

// rested notes that a job was started or has ended.
func (s *server) rested() {
	switch {
	case s.tidier.spent < worthTidying:
	case s.tidier.timer == nil:
		s.tidier.timer = time.AfterFunc(tidyAfter, s.tidy)
	default:
		s.tidier.timer.Reset(tidyAfter)
	}
}

func (s *server) tidy() {
	s.mu.Lock()
	s.tidier.spent = 0
	s.mu.Unlock()
	debug.FreeOSMemory()
}
