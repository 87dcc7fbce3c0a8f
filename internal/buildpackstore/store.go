package buildpackstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/fetch"
	"github.com/durable-dea/dea/internal/safename"
	"github.com/durable-dea/dea/internal/share"
)

// ErrUnpack: what came is no zip, or one that must not be unpacked. The cause is an *archive.Error. The other errors of
// Ensure are ErrNotBuildpack, those of fetch.Client.Get and those of the file system.
var ErrUnpack = errors.New("the buildpack cannot be unpacked")

// Store is the buildpacks of a node. It is safe for concurrent use by one process.
type Store struct {
	dir     string
	client  *fetch.Client
	fetches share.Group[string, Buildpack]
	hearers hearers
	// reaping is held by one Reap at a time.
	reaping sync.Mutex
	// mu is held when a buildpack comes or goes, and when it is noted who uses or names it.
	mu sync.Mutex
	// busy are the names that are being fetched.
	busy map[string]bool
}

// New is the store beneath a node's base directory. Nothing is made on disk until the first buildpack comes.
func New(baseDir string, client *fetch.Client) *Store {
	return &Store{dir: filepath.Join(baseDir, "admin_buildpacks"), client: client, busy: map[string]bool{}}
}

// Dir is the directory of a buildpack beneath a node's base directory. It is there once Ensure has returned it.
func Dir(baseDir, key string) string {
	return filepath.Join(baseDir, "admin_buildpacks", safename.Of(key))
}

// Order is a buildpack to be had.
type Order struct {
	// Key names it, URL is where it is. Basic auth may stand in it. Required.
	Key, URL string
	// MaxZip bounds the zip, MaxBytes and MaxEntries what it unpacks to; 0 is no limit for the zip and archive's defaults
	// for the others. Bytes.
	MaxZip, MaxBytes int64
	MaxEntries       int
	// Progress, if set, is called as bytes arrive, with the bytes so far and those of the whole zip, -1 when that is not
	// known. It must be quick.
	Progress func(done, total int64)
}

// Buildpack is one that is on the node.
type Buildpack struct {
	Record
	// Dir is where it is.
	Dir string
	// Came tells that it was not there before.
	Came bool
}

// Ensure fetches and unpacks a buildpack, unless it is here. Callers that ask for the same key at the same time share
// one download; one whose context ends leaves the others alone. Without Use before it, Reap may take it away again.
func (s *Store) Ensure(ctx context.Context, o Order) (Buildpack, error) {
	if b, here := s.here(o.Key); here {
		return b, nil
	}
	if o.Progress != nil {
		defer s.hearers.add(o.Key, o.Progress)()
	}
	return s.fetches.Do(ctx, o.Key, func(ctx context.Context) (Buildpack, error) {
		if b, here := s.here(o.Key); here {
			return b, nil
		}
		return s.fetch(ctx, o)
	})
}

// here gives the buildpack of a key, if it and its record are on the node.
func (s *Store) here(key string) (Buildpack, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := filepath.Join(s.dir, safename.Of(key))
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return Buildpack{}, false
	}
	r, ok := s.record(key)
	return Buildpack{Record: r, Dir: dir}, ok
}

func (s *Store) parts(name string) string { return filepath.Join(s.dir, ".parts", name) }

func (s *Store) fetch(ctx context.Context, o Order) (b Buildpack, err error) {
	name := safename.Of(o.Key)
	if err := os.MkdirAll(s.parts(""), 0o755); err != nil {
		return Buildpack{}, fmt.Errorf("make the buildpacks' directory: %w", err)
	}
	s.setBusy(name, true)
	defer s.setBusy(name, false)
	zip, fresh := s.parts(name+".zip"), s.parts(name+".new")
	// A process that died may have left both.
	if err := errors.Join(removeTree(zip), removeTree(fresh)); err != nil {
		return Buildpack{}, err
	}
	defer func() { err = errors.Join(err, removeTree(zip), removeTree(fresh)) }()
	digest := sha256.New()
	got, err := s.client.Get(ctx, fetch.Download{
		URL: o.URL, To: zip, Part: s.parts(name + ".part"), Limit: o.MaxZip, Hash: digest,
		Progress: func(done, total int64) { s.hearers.tell(o.Key, done, total) },
	})
	if err != nil {
		return Buildpack{}, err
	}
	unpacked, err := unpack(ctx, zip, fresh, archive.Options{MaxBytes: o.MaxBytes, MaxEntries: o.MaxEntries})
	if err != nil {
		return Buildpack{}, err
	}
	r := Record{
		Key: o.Key, SHA256: hex.EncodeToString(digest.Sum(nil)), Bytes: got.Size,
		Entries: unpacked.Entries, UnpackedBytes: unpacked.Bytes, Fetched: time.Now().UTC(),
	}
	dir, err := s.publish(name, r)
	return Buildpack{Record: r, Dir: dir, Came: true}, err
}

// publish puts an unpacked buildpack into its place. The record goes first: what has its place is known.
func (s *Store) publish(name string, r Record) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := filepath.Join(s.dir, name)
	if err := s.hide(dir); err != nil {
		return "", err
	}
	if err := writeJSON(s.recordPath(name), s.parts(name+".json"), r); err != nil {
		return "", fmt.Errorf("note what the buildpack is: %w", err)
	}
	if err := os.Rename(s.parts(name+".new"), dir); err != nil {
		return "", fmt.Errorf("put the buildpack into its place: %w", err)
	}
	return dir, nil
}

func (s *Store) setBusy(name string, busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if busy {
		s.busy[name] = true
	} else {
		delete(s.busy, name)
	}
}

// hearers are told how far a download is, all who wait for it.
type hearers struct {
	mu  sync.Mutex
	all map[string]map[int]func(done, total int64)
	// next numbers them.
	next int
}

// add makes somebody hear of a key's download until the returned function is called.
func (h *hearers) add(key string, hear func(done, total int64)) (leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[string]map[int]func(done, total int64){}
	}
	if h.all[key] == nil {
		h.all[key] = map[int]func(done, total int64){}
	}
	h.next++
	n := h.next
	h.all[key][n] = hear
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if delete(h.all[key], n); len(h.all[key]) == 0 {
			delete(h.all, key)
		}
	}
}

func (h *hearers) tell(key string, done, total int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, hear := range h.all[key] {
		hear(done, total)
	}
}
