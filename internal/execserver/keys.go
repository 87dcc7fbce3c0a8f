package execserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// maxKeysFile bounds the file of authorized keys.
const maxKeysFile = 4 << 20

// grant is what a key may do.
type grant struct {
	// fingerprint and comment tell whose it is.
	fingerprint, comment string
	// apps are those that it is for; nil for all.
	apps []string
	// noTerminal keeps terminals from it.
	noTerminal bool
}

// allows tells whether the key is for an app.
func (g grant) allows(app string) bool { return g.apps == nil || slices.Contains(g.apps, app) }

// errUnknownKey and its like are why a key is not let in.
var (
	errUnknownKey = errors.New("the key is not in the file")
	errExpired    = errors.New("the key has expired")
)

// lookUp finds what the file grants to a key. The first line of a key counts.
func lookUp(file string, key ssh.PublicKey, now time.Time) (grant, error) {
	text, err := readKeys(file)
	if err != nil {
		return grant{}, err
	}
	wanted := key.Marshal()
	for line := range bytes.Lines(text) {
		candidate, comment, options, _, err := ssh.ParseAuthorizedKey(line)
		// Lines that hold no key are comments, or of a kind that this program does not know: nobody's.
		if err != nil || !bytes.Equal(candidate.Marshal(), wanted) {
			continue
		}
		g := grant{fingerprint: ssh.FingerprintSHA256(key), comment: comment}
		return g, g.take(options, now)
	}
	return grant{}, errUnknownKey
}

// errKeysFile is the error of a file of keys that is not to be relied on, or of no use.
var errKeysFile = errors.New("the file of authorized keys cannot be used")

// readKeys reads the file of keys. It fails with errKeysFile, or with fs.ErrNotExist where there is none.
func readKeys(name string) ([]byte, error) {
	text, err := readTrusted(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", errKeysFile, err)
	}
	return text, err
}

// readTrusted reads a file that only the worker's user and root may write: whoever writes it says who is let in. So does sshd by
// StrictModes, which looks at the directories above as well; who may write these is left to the operator.
func readTrusted(name string) ([]byte, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a fifo has nobody wait for who writes to it
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var info unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &info); err != nil {
		return nil, err
	}
	switch {
	case info.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%s is no regular file", name)
	case info.Mode&0o022 != 0:
		return nil, fmt.Errorf("others than its owner may write %s: take that from them with `chmod go-w`", name)
	case info.Uid != 0 && info.Uid != uint32(os.Geteuid()): //nolint:gosec // an id
		return nil, fmt.Errorf("%s belongs to another user than the worker's and root", name)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKeysFile+1))
	if err == nil && len(text) > maxKeysFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxKeysFile)
	}
	return text, err
}

// take applies a key's options.
func (g *grant) take(options []string, now time.Time) error {
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "apps":
			g.apps = []string{}
			for app := range strings.SplitSeq(value, ",") {
				if app = strings.TrimSpace(app); app != "" {
					g.apps = append(g.apps, app)
				}
			}
		case "no-pty":
			g.noTerminal = true
		case "expiry-time":
			end, err := expiry(value)
			if err != nil {
				return err
			}
			if !now.Before(end) {
				return errExpired
			}
		case "restrict": // as OpenSSH has it, no terminal either, unless pty follows
			g.noTerminal = true
		case "pty":
			g.noTerminal = false
		case "no-port-forwarding", "no-agent-forwarding", "no-x11-forwarding", "no-user-rc":
		default:
			return fmt.Errorf("the key has the option %s, which is not known", name)
		}
	}
	return nil
}

// expiry reads YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, with or without a Z.
func expiry(text string) (time.Time, error) {
	text = strings.TrimSuffix(text, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(text) == len(layout) {
			return time.ParseInLocation(layout, text, time.UTC)
		}
	}
	return time.Time{}, errors.New("the key's expiry-time cannot be read")
}
