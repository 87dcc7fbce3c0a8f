// Package data is a devserver's directory: which file is where, and that one devserver uses it at a time.
//
//	DIR/lock              held while a devserver runs
//	DIR/temporal.db       Temporal's database
//	DIR/encryption.key    what everything in it is encrypted with
//	DIR/exec_identity     the key by which starter is let into instances, and what the nodes know of it, in
//	DIR/exec_authorized_keys
//	DIR/nats.password     what nodes and the router connect to NATS with
//	DIR/client.yml        the configuration for starter
//	DIR/devserver.json    the addresses, as printed; while a devserver runs
//	DIR/port_base         the first of the ports of the last run
//	DIR/cc/               the cloud controller's files
//	DIR/logs/             what each process says
//	DIR/nodes/N/          one node: dea.yml, base/ (the worker's), depot/ and wardend.sock (wardend's)
package data

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// longestSocket is what a unix socket's path may have, the closing zero not counted.
const longestSocket = 107

// longLog is when a log is set aside at the next start.
const longLog = 16 << 20

// Dir is a directory in use by this process.
type Dir struct {
	path      string
	temporary bool
	lock      *os.File
}

// InUseError says who else uses the directory.
type InUseError struct {
	Path string
	// PID is the other devserver's process, 0 when it did not say.
	PID int
}

func (e *InUseError) Error() string {
	who := "another devserver"
	if e.PID != 0 {
		who = fmt.Sprintf("another devserver (process %d)", e.PID)
	}
	return fmt.Sprintf("%s is in use by %s; stop that one or give another --data", e.Path, who)
}

// Open makes the directory if need be and locks it: *InUseError when another process has it. An empty path means a
// temporary directory, which Close removes.
func Open(path string) (*Dir, error) {
	dir := &Dir{path: path}
	if path == "" {
		made, err := os.MkdirTemp("", "dea")
		if err != nil {
			return nil, fmt.Errorf("make a temporary directory: %w", err)
		}
		dir.path, dir.temporary = made, true
	}
	absolute, err := filepath.Abs(dir.path)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	dir.path = absolute
	if err := os.MkdirAll(dir.Logs(), 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	if err := dir.takeLock(); err != nil {
		return nil, err
	}
	if err := dir.setAsideLogs(); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// LetPass lets users pass through the directory who are told what lies in it by name: containers have their roots in it,
// and users of their own. What else lies in it is still nobody's but its owner's.
func (d *Dir) LetPass() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("let containers' users pass: %w", err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("let containers' users pass: %w", err)
		}
		if info.Mode().IsRegular() || info.IsDir() {
			const others = 0o077
			if err := os.Chmod(filepath.Join(d.path, entry.Name()), info.Mode().Perm()&^others); err != nil {
				return fmt.Errorf("let containers' users pass: %w", err)
			}
		}
	}
	nodes := filepath.Dir(d.Node(1))
	if err := os.MkdirAll(nodes, Passable); err != nil {
		return fmt.Errorf("make the nodes' directory: %w", err)
	}
	for _, dir := range []string{nodes, d.path} {
		if err := os.Chmod(dir, Passable); err != nil {
			return fmt.Errorf("let containers' users pass: %w", err)
		}
	}
	return nil
}

// Passable is the mode of a directory whose content only its owner sees, and that everybody can pass.
const Passable = 0o711

// Close lets others have the directory.
func (d *Dir) Close() error {
	var removed error
	if d.temporary {
		removed = os.RemoveAll(d.path)
	}
	return errors.Join(removed, d.lock.Close())
}

// Keep makes Close leave even a temporary directory.
func (d *Dir) Keep() { d.temporary = false }

// Path is the directory itself, absolute.
func (d *Dir) Path() string { return d.path }

// Database is Temporal's SQLite file.
func (d *Dir) Database() string { return filepath.Join(d.path, "temporal.db") }

// Key is the encryption key's file.
func (d *Dir) Key() string { return filepath.Join(d.path, "encryption.key") }

// ExecIdentity is the private key by which starter is let into instances.
func (d *Dir) ExecIdentity() string { return filepath.Join(d.path, "exec_identity") }

// ExecAuthorizedKeys is what the nodes know of ExecIdentity.
func (d *Dir) ExecAuthorizedKeys() string { return filepath.Join(d.path, "exec_authorized_keys") }

// NATSPassword is the file of the password for NATS.
func (d *Dir) NATSPassword() string { return filepath.Join(d.path, "nats.password") }

// Client is the client's configuration.
func (d *Dir) Client() string { return filepath.Join(d.path, "client.yml") }

// Addresses is the file with what is printed when all is ready.
func (d *Dir) Addresses() string { return filepath.Join(d.path, "devserver.json") }

// PortBase is the first of the ports that this directory was last used with, 0 when there was no last time.
func (d *Dir) PortBase() int {
	text, err := os.ReadFile(d.portBase())
	if err != nil {
		return 0
	}
	base, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || base < 0 {
		return 0
	}
	return base
}

// KeepPortBase is what the next PortBase gives.
func (d *Dir) KeepPortBase(base int) error {
	if err := os.WriteFile(d.portBase(), []byte(strconv.Itoa(base)+"\n"), 0o600); err != nil {
		return fmt.Errorf("keep the ports' base: %w", err)
	}
	return nil
}

func (d *Dir) portBase() string { return filepath.Join(d.path, "port_base") }

// CloudController is the directory of the cloud controller.
func (d *Dir) CloudController() string { return filepath.Join(d.path, "cc") }

// Logs is the directory of the logs.
func (d *Dir) Logs() string { return filepath.Join(d.path, "logs") }

// Log is the log of one process.
func (d *Dir) Log(name string) string { return filepath.Join(d.Logs(), name+".log") }

// Node is the directory of the node with this number, from 1.
func (d *Dir) Node(number int) string { return filepath.Join(d.path, "nodes", strconv.Itoa(number)) }

// NodesHere are the numbers of the nodes that have a directory, of this run or of an earlier one with more nodes.
func (d *Dir) NodesHere() ([]int, error) {
	found, err := filepath.Glob(filepath.Join(d.path, "nodes", "*"))
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, path := range found {
		if number, err := strconv.Atoi(filepath.Base(path)); err == nil && number > 0 {
			numbers = append(numbers, number)
		}
	}
	return numbers, nil
}

// Socket is where the wardend of the node with this number listens: in the node's directory, or, when a path there is
// too long for a unix socket, in a directory of the user's whose short name is derived from it.
func (d *Dir) Socket(number int) (string, error) {
	socket := filepath.Join(d.Node(number), "wardend.sock")
	if len(socket) <= longestSocket {
		return socket, nil
	}
	short, err := RuntimeDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(socket))
	return filepath.Join(short, hex.EncodeToString(sum[:8])+".sock"), nil
}

// RuntimeDir is a directory of this user's with a short name, for sockets and locks. It refuses one that somebody else
// made.
func RuntimeDir() (string, error) {
	path := filepath.Join("/tmp", "dea-"+strconv.Itoa(os.Getuid()))
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("make the runtime directory: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return "", fmt.Errorf("look at the runtime directory: %w", err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR || int(stat.Uid) != os.Getuid() || stat.Mode&0o077 != 0 {
		return "", fmt.Errorf("%s is not a private directory of yours; remove it", path)
	}
	return path, nil
}

// setAsideLogs renames logs that have grown long, so that each begins anew and its last self is kept.
func (d *Dir) setAsideLogs() error {
	logs, err := filepath.Glob(d.Log("*"))
	if err != nil {
		return err
	}
	for _, log := range logs {
		info, err := os.Stat(log)
		if err != nil || info.Size() < longLog {
			continue
		}
		if err := os.Rename(log, log+".old"); err != nil {
			return fmt.Errorf("set a long log aside: %w", err)
		}
	}
	return nil
}

func (d *Dir) takeLock() error {
	lock, err := os.OpenFile(filepath.Join(d.path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the data directory's lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer func() { _ = lock.Close() }()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock the data directory: %w", err)
		}
		said, _ := os.ReadFile(lock.Name())
		pid, _ := strconv.Atoi(strings.TrimSpace(string(said)))
		return &InUseError{Path: d.path, PID: pid}
	}
	d.lock = lock
	return errors.Join(lock.Truncate(0), writePID(lock))
}

func writePID(lock *os.File) error {
	_, err := lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}
