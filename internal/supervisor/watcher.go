package supervisor

// Watcher hears what becomes of the instances that the supervisor looks after, each change in its order: a route registrar,
// and whoever sends their logs on. Its methods are called with locks held: they take note and return, and call nothing of
// the supervisor's. What a workflow wants to know is told to it by signals, not so.
//
//	Live --> Live (other routes, another version, readiness) --> Gone
//
// Of an instance that ended while no worker was there Gone is the first thing that is heard. Close tells nothing: the
// instances run on.
type Watcher interface {
	// Live is an instance that is looked after now, or that is other than before.
	Live(Instance)
	// Gone is one that has ended, or is about to be taken down. Only of one that ended while no worker was there it may be
	// told again.
	Gone(Instance)
}

// show tells the watchers how the instance is. Its caller holds mu.
func (w *Watch) show() {
	if !w.adopted || w.hidden {
		return
	}
	for _, watcher := range w.watchers {
		watcher.Live(w.about.clone())
	}
}

// hide tells the watchers that the instance is gone. Its caller holds mu.
func (w *Watch) hide() {
	if !w.adopted || w.hidden {
		return
	}
	w.hidden = true
	for _, watcher := range w.watchers {
		watcher.Gone(w.about.clone())
	}
}
