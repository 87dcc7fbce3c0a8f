package drain

import (
	"context"
	"sync"
	"time"
)

// following is one instance that is followed.
type following struct {
	followers []*follower
	// end ends them, errOver for an instance that has ended; done is closed when they have.
	end  context.CancelCauseFunc
	done chan struct{}

	// saving is held while positions are kept or removed; over is set when they are no longer to be kept as they change.
	saving sync.Mutex
	over   bool
	// lasting has them kept once nobody follows the instance any more: for who is told to finish with it again.
	lasting bool
}

// run follows the instance, from where its drains are known to have come.
func (f *following) run(ctx context.Context, from map[string]progress) {
	var running sync.WaitGroup
	for _, one := range f.followers {
		one.begin(from[one.address.String()])
	}
	for _, one := range f.followers {
		running.Go(func() { one.run(ctx) })
	}
	running.Wait()
}

// finish has the rest sent within finishTime, and after some time the last lines alone. Told again it does nothing more, but
// for what lasting says of positions.
func (f *following) finish(hurry time.Duration, lasting bool) {
	f.last(lasting)
	for _, one := range f.followers {
		select {
		case one.ended <- time.Now().Add(hurry):
		default:
		}
	}
	time.AfterFunc(finishTime, func() { f.end(errOver) })
}

func (f *following) last(lasting bool) {
	f.saving.Lock()
	defer f.saving.Unlock()
	f.lasting = lasting
}

// close keeps positions for the last time, or removes them.
func (f *following) close(at positions, instance string) error {
	f.saving.Lock()
	defer f.saving.Unlock()
	f.over = true
	if !f.lasting {
		return at.remove(instance)
	}
	drains, _ := f.progress()
	return at.save(instance, drains)
}

// progress is how far each drain has come, and whether that is news to any.
func (f *following) progress() (drains map[string]progress, news bool) {
	drains = make(map[string]progress, len(f.followers))
	for _, one := range f.followers {
		taken, changed := one.progress()
		drains[one.address.String()] = taken
		news = news || changed
	}
	return drains, news
}

// save keeps how far the drains have come, if that is news.
func (f *following) save(to positions, instance string) error {
	f.saving.Lock()
	defer f.saving.Unlock()
	drains, news := f.progress()
	if !news || f.over {
		return nil
	}
	err := to.save(instance, drains)
	if err != nil {
		for _, one := range f.followers {
			one.forgot()
		}
	}
	return err
}
