package droplets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/rmtree"
	"github.com/durable-dea/dea/internal/runspec"
)

// Owner is whom the files of a layer belong to: vcap, as the stack's etc/passwd has the user.
//
// On the disk these are the very ids of the container. wardend shows each layer through a clone that is mounted with the
// container's user namespace for its id map: what belongs to the machine's id n, from 0 to 65535, is the container's n,
// whatever ids of the machine the container has been given. So one layer is everybody's, in every container of a stack
// whose vcap has these ids; what belongs to the machine's root is the container's root's; and nothing need be known of
// any container here.
type Owner struct{ UID, GID uint32 }

// Room bounds what a droplet may unpack to: the instance's disk. 0 is archive's default, which is also the most.
type Room struct {
	// Bytes are those of its files, each taking whole blocks as on a disk; Entries its files, directories and links.
	Bytes   int64
	Entries int
}

// options let nothing take more than archive does by itself, however much room an instance has: the node pays for it, in
// memory as well.
func (r Room) options() archive.Options {
	o := archive.Options{MaxBytes: archive.DefaultMaxBytes, MaxEntries: archive.DefaultMaxEntries, FromContainer: true}
	if r.Bytes > 0 {
		o.MaxBytes = min(o.MaxBytes, r.Bytes)
	}
	if r.Entries > 0 {
		o.MaxEntries = min(o.MaxEntries, r.Entries)
	}
	return o
}

// TooLargeError: a droplet unpacks to more than an instance has room for.
type TooLargeError struct {
	Room Room
	// Err says what there is too much of.
	Err error
}

func (e *TooLargeError) Error() string {
	return "the droplet is too large for the instance's disk: " + e.Err.Error()
}

// Unwrap gives what there is too much of.
func (e *TooLargeError) Unwrap() error { return e.Err }

// Layer is an unpacked droplet.
type Layer struct {
	// Dir is a tree to be the uppermost layer of a root file system.
	Dir string
	// Bytes and Entries are what is in it, counted as Room does.
	Bytes   int64
	Entries int
	// Made tells that it was not there before; of several who asked at once only one is told so.
	Made bool
}

// check refuses a layer for which there is no room.
func (l Layer) check(room Room) error {
	var err error
	if room.Bytes > 0 && l.Bytes > room.Bytes {
		err = fmt.Errorf("it takes %s, and %s are allowed", archive.FormatSize(l.Bytes), archive.FormatSize(room.Bytes))
	} else if room.Entries > 0 && l.Entries > room.Entries {
		err = fmt.Errorf("it has %d files, and %d are allowed", l.Entries, room.Entries)
	}
	if err != nil {
		return &TooLargeError{Room: room, Err: err}
	}
	return nil
}

// Layer gives a droplet unpacked, for instances whose vcap is owner. It is unpacked once, whoever else asks for it at the
// same time; one whose context ends leaves the others alone. It is there for as long as the droplet is claimed: Claim comes
// before.
//
// Its errors are ErrBadDigest, ErrGone when the droplet is not here, *TooLargeError, *archive.Error for a droplet that must
// not be unpacked, and those of the file system. It takes the machine's root to give files to another owner than oneself.
func (s *Store) Layer(ctx context.Context, sha1 string, owner Owner, room Room) (Layer, error) {
	sha1, err := canonical(sha1)
	if err != nil {
		return Layer{}, err
	}
	order := unpacking{store: s, sha1: sha1, owner: owner, room: room}
	for {
		layer, here := s.layer(order.name())
		if !here {
			// Of those who wait for one unpacking it is one who had it made.
			var mine atomic.Bool
			layer, err = s.unpackings.Do(ctx, order.name(), func(ctx context.Context) (Layer, error) {
				mine.Store(true)
				return order.run(ctx)
			})
			layer.Made = layer.Made && mine.Load()
		}
		var tooLarge *TooLargeError
		if errors.As(err, &tooLarge) && tooLarge.Room != room {
			continue // It was unpacked for somebody with another disk.
		}
		if err != nil {
			return Layer{}, err
		}
		return layer, layer.check(room)
	}
}

// record is what is known of a layer.
type record struct {
	Bytes   int64 `json:"bytes"`
	Entries int   `json:"entries"`
	// Boot is when it was unpacked. After the machine was started again it may be torn.
	Boot string `json:"boot"`
}

const (
	// newEnding is that of a layer that is being unpacked.
	newEnding  = ".new"
	recordName = "layer.json"
	rootName   = "root"
)

func (s *Store) layers(name string) string { return filepath.Join(s.dir, ".layers", name) }

// layer gives a layer by its name, if it is here and whole.
func (s *Store) layer(name string) (Layer, bool) {
	dir := s.layers(name)
	var r record
	data, err := os.ReadFile(filepath.Join(dir, recordName))
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	return Layer{Dir: filepath.Join(dir, rootName), Bytes: r.Bytes, Entries: r.Entries}, err == nil && r.Boot == s.boot
}

// unpacking is the making of one layer.
type unpacking struct {
	store *Store
	sha1  string
	owner Owner
	room  Room
}

// name is the layer's: one that begins with the droplet's SHA-1.
func (u unpacking) name() string { return fmt.Sprintf("%s-%d-%d", u.sha1, u.owner.UID, u.owner.GID) }

// ofLayer is the SHA-1 of the droplet that a layer of this name is of.
func ofLayer(name string) string {
	sha1, _, _ := strings.Cut(name, "-")
	return sha1
}

func (u unpacking) run(ctx context.Context) (Layer, error) {
	s := u.store
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return Layer{}, ctx.Err()
	}
	s.setBusy(u.name(), true)
	defer s.setBusy(u.name(), false)
	if layer, here := s.layer(u.name()); here {
		return layer, nil
	}
	part := s.parts(u.name() + newEnding)
	// A process that died may have left it.
	if err := rmtree.All(part); err != nil {
		return Layer{}, fmt.Errorf("unpack the droplet: %w", err)
	}
	if err := u.make(ctx, part); err != nil {
		return Layer{}, errors.Join(err, rmtree.All(part))
	}
	layer, here := s.layer(u.name())
	if !here {
		return Layer{}, fmt.Errorf("unpack the droplet: its layer cannot be read again: %w", fs.ErrInvalid)
	}
	layer.Made = true
	return layer, nil
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

// make unpacks the droplet into part and moves that to its place.
func (u unpacking) make(ctx context.Context, part string) error {
	s := u.store
	path, err := s.Path(u.sha1)
	if err != nil {
		return err
	}
	droplet, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrGone
	}
	if err != nil {
		return fmt.Errorf("open the droplet: %w", err)
	}
	defer droplet.Close()
	root := filepath.Join(part, rootName)
	if err := frame(part, root); err != nil {
		return fmt.Errorf("unpack the droplet: %w", err)
	}
	home := runspec.Beneath(root, runspec.PathHome)
	_, err = archive.UnpackTar(ctx, droplet, home, u.room.options())
	if errors.Is(err, archive.ErrTooLarge) {
		return &TooLargeError{Room: u.room, Err: err}
	}
	if err != nil {
		return fmt.Errorf("unpack the droplet: %w", err)
	}
	found, err := furnish(ctx, home, u.owner)
	if err != nil {
		return err
	}
	found.Boot = s.boot
	if err := (Layer{Bytes: found.Bytes, Entries: found.Entries}).check(u.room); err != nil {
		return err
	}
	return s.appear(u.name(), part, found)
}

// appear puts a layer in its place, where one may lie that an earlier start of the machine has left.
func (s *Store) appear(name, part string, r record) error {
	data, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(filepath.Join(part, recordName), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write what the layer holds: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.layers(name)
	err = rmtree.Hide(to, s.parts(""))
	if err == nil {
		// For the machine's root alone: there may be secrets of the app's in it. Containers do not come this way.
		err = os.MkdirAll(filepath.Dir(to), 0o700)
	}
	if err == nil {
		err = os.Rename(part, to)
	}
	if err != nil {
		return fmt.Errorf("put the layer in its place: %w", err)
	}
	return nil
}

// bootID names the time since the machine was started, or since this process was, where the kernel does not tell.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if text := strings.TrimSpace(string(id)); err == nil && text != "" {
		return text
	}
	return uuid.NewString()
}
