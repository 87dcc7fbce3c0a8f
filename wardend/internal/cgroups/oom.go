package cgroups

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// ErrClosed: the manager was closed.
var ErrClosed = errors.New("the cgroup manager is closed")

// WatchOOM has fn called, from a goroutine of its own, once for each process of the group that the kernel kills for want
// of memory from now on, until ctx ends or the group is removed. Kills from before are told by OOMKills: asked after
// this, the two together miss none. A group has one watch: another call takes the place of the one before. While
// nothing happens it costs no goroutine, and one descriptor on v1.
//
// v1 tells only of kills that limits of memory cause. One that is caused by want of memory in the whole machine is
// counted in OOMKills, and fn is called for it at the next of the group's own. WatchOOM fails with ErrClosed, or when
// the kernel has no more descriptors or watches to give.
func (g *Group) WatchOOM(ctx context.Context, fn func()) error {
	file, ok := g.oomFile()
	if !ok {
		return nil
	}
	if err := g.m.oom.watch(ctx, &watch{id: g.id, file: file, fn: fn}); err != nil {
		return fmt.Errorf("watch for out-of-memory kills: %w", err)
	}
	return nil
}

// watcher waits for out-of-memory kills in all groups of a manager, with one goroutine that sleeps until the kernel
// has something to say.
type watcher struct {
	log hclog.Logger
	// source is guarded by mu: a descriptor must not be another's between being told of and being read.
	source source

	mu      sync.Mutex
	closed  bool
	file    *os.File
	watches map[int]*watch
	keys    map[string]int
	// unsettled are the watches whose kernel said something a short while ago.
	unsettled map[int]*watch
	running   sync.WaitGroup
}

// source is how the kernel tells of kills.
type source interface {
	// open makes the descriptor that becomes readable when there is something to take.
	open() (*os.File, error)
	// add begins to tell of a group; the key, at least 0, stands for it.
	add(dir string) (key int, err error)
	// remove ends that, also where the group has gone meanwhile.
	remove(key int)
	// take gives the keys of the groups that something has happened to, everyKey if some may be missing, and nothing
	// when nothing has happened. It does not block.
	take() ([]int, error)
}

const everyKey = -1

// watch is one group that is watched.
type watch struct {
	id   string
	file string
	fn   func()
	// stop lets go of the caller's context.
	stop func() bool
	// told is how many kills fn was told of, or not to be told of.
	told uint64
	// The kernel speaks before it kills. So the count is looked at again at next, and again after twice the wait.
	next time.Time
	wait time.Duration
}

// Waits between looks at a group's count. In all it is looked at for two seconds: the victim's end may be slow, but it
// is counted when it is chosen.
const (
	firstLook = time.Millisecond
	lastLook  = time.Second
)

func newWatcher(version int, log hclog.Logger) *watcher {
	w := &watcher{log: log, source: &eventfds{}, watches: map[int]*watch{}, keys: map[string]int{}, unsettled: map[int]*watch{}}
	if version != 1 {
		w.source = &inotify{}
	}
	return w
}

func (w *watcher) watch(ctx context.Context, v *watch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.startLocked(ctx); err != nil {
		return err
	}
	w.forgetLocked(v.id)
	key, err := w.source.add(filepath.Dir(v.file))
	if err != nil {
		return err
	}
	if v.told, _, err = findNumber(v.file, "oom_kill"); err != nil {
		w.source.remove(key)
		return err
	}
	w.watches[key], w.keys[v.id] = v, key
	v.stop = context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.watches[key] == v {
			w.dropLocked(key)
		}
	})
	return nil
}

// startLocked begins to wait when there is the first to wait for.
func (w *watcher) startLocked(ctx context.Context) error {
	if w.closed {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil || w.file != nil {
		return err
	}
	file, err := w.source.open()
	if err != nil {
		return err
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	w.file = file
	w.running.Go(func() { w.run(file, conn) })
	return nil
}

// dropLocked ends one watch.
func (w *watcher) dropLocked(key int) {
	v := w.watches[key]
	delete(w.watches, key)
	delete(w.keys, v.id)
	delete(w.unsettled, key)
	v.stop()
	w.source.remove(key)
}

func (w *watcher) forgetLocked(id string) {
	if key, ok := w.keys[id]; ok {
		w.dropLocked(key)
	}
}

// forget ends the watch of a container's group, if there is one.
func (w *watcher) forget(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forgetLocked(id)
}

// close ends all watches and waits until nothing looks any more.
func (w *watcher) close() error {
	w.mu.Lock()
	w.closed = true
	for key := range w.watches {
		w.dropLocked(key)
	}
	file := w.file
	w.file = nil
	w.mu.Unlock()
	if file == nil {
		return nil
	}
	// It waits for who reads, who may wait for the lock.
	err := file.Close()
	w.running.Wait()
	return err
}

func (w *watcher) run(file *os.File, conn syscall.RawConn) {
	for {
		err := w.await(conn)
		if err != nil && w.isClosed() {
			return
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			w.log.Error("out-of-memory kills are not noticed any more", "error", err)
			return
		}
		// Closed meanwhile: the next wait says so.
		_ = file.SetReadDeadline(w.look(time.Now()))
	}
}

// isClosed tells the error of a descriptor that was closed here from others. By itself it does not: that of a raw
// connection is neither os.ErrClosed nor exported.
func (w *watcher) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// await sleeps until something happens to a group, or until the deadline.
func (w *watcher) await(conn syscall.RawConn) error {
	var failed error
	err := conn.Read(func(uintptr) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		var keys []int
		if keys, failed = w.source.take(); failed != nil {
			return true
		}
		for _, key := range keys {
			w.unsettleLocked(key)
		}
		return len(keys) > 0
	})
	if err != nil {
		return err
	}
	return failed
}

func (w *watcher) unsettleLocked(key int) {
	if key == everyKey {
		for key := range w.watches {
			w.unsettleLocked(key)
		}
		return
	}
	if v := w.watches[key]; v != nil {
		v.wait, v.next = firstLook, time.Time{}
		w.unsettled[key] = v
	}
}

// look counts the kills of the groups that something has happened to, and says when to look again; never is zero.
func (w *watcher) look(now time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	var next time.Time
	for key, v := range w.unsettled {
		if !v.next.After(now) && !w.countLocked(key, v, now) {
			continue
		}
		if next.IsZero() || v.next.Before(next) {
			next = v.next
		}
	}
	return next
}

// countLocked tells of new kills, and says whether the group is to be looked at again, at v.next.
func (w *watcher) countLocked(key int, v *watch, now time.Time) bool {
	kills, _, err := findNumber(v.file, "oom_kill")
	if err != nil {
		if !gone(err) {
			w.log.Error("out-of-memory kills of a container cannot be counted", "container", v.id, "error", err)
		}
		w.dropLocked(key)
		return false
	}
	if fresh := kills - min(v.told, kills); fresh > 0 {
		v.told = kills
		go func() {
			for range fresh {
				v.fn()
			}
		}()
	}
	if v.wait > lastLook {
		delete(w.unsettled, key)
		return false
	}
	v.next, v.wait = now.Add(v.wait), 2*v.wait
	return true
}
