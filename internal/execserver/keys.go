package execserver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
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
	text, err := readBounded(file)
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

func readBounded(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxKeysFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxKeysFile)
	}
	return os.ReadFile(name)
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
