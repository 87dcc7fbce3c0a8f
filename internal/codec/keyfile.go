package codec

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

const (
	// maxIDLength bounds a key's id, which travels in clear with every payload.
	maxIDLength = 64
	// maxKeyFile bounds the key file: over ten thousand keys are no key file.
	maxKeyFile = 1 << 20
)

// ErrKeyFile is in every error of LoadKeyring and CreateKeyFile that the file's content or mode causes.
var ErrKeyFile = errors.New("unusable key file")

// LoadKeyring reads a key file. Each line is "<id> <base64 of 32 bytes>"; the first key encrypts; empty lines and lines
// that begin with # are skipped. An id is of 1 to 64 letters, digits, dots, dashes and underscores. A file that the group
// or others may read or write is refused, with the command that mends it. errors.Is knows fs.ErrNotExist.
func LoadKeyring(path string) (*Keyring, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrKeyFile, path, err)
	}
	return newKeyring(keys), nil
}

// CreateKeyFile loads the key file, and makes it first, with one new key and mode 0600, where there is none. Of several
// that create it at the same time one wins, and all load its key. The directory must exist.
func CreateKeyFile(path string) (*Keyring, error) {
	ring, err := LoadKeyring(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return ring, err
	}
	if err := writeNewKey(path); err != nil {
		return nil, fmt.Errorf("create the key file: %w", err)
	}
	return LoadKeyring(path)
}

func readPrivate(path string) ([]byte, error) {
	// Without O_NONBLOCK, a fifo in the file's place would hold the caller for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open the key file: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w %s: it is no regular file", ErrKeyFile, path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%w %s: its mode %04o lets others at it: chmod 600 it", ErrKeyFile, path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%w %s: it is over %d bytes", ErrKeyFile, path, maxKeyFile)
	}
	return text, nil
}

// parseKeys reads the lines. Its errors name lines and never quote them: they hold keys.
func parseKeys(text []byte) ([]key, error) {
	idForm := regexp.MustCompile(fmt.Sprintf(`^[A-Za-z0-9._-]{1,%d}$`, maxIDLength))
	var keys []key
	seen := make(map[string]int)
	for i, line := range bytes.Split(text, []byte("\n")) {
		fields := strings.Fields(string(line))
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		n := i + 1
		if len(fields) != 2 {
			return nil, fmt.Errorf("line %d: expected an id and a key, found %d words", n, len(fields))
		}
		if !idForm.MatchString(fields[0]) {
			return nil, fmt.Errorf("line %d: the id must be 1 to %d letters, digits, dots, dashes or underscores", n, maxIDLength)
		}
		if first, twice := seen[fields[0]]; twice {
			return nil, fmt.Errorf("line %d: the id %s stands in line %d already", n, fields[0], first)
		}
		secret, err := base64.StdEncoding.DecodeString(fields[1])
		if err != nil || len(secret) != keySize {
			return nil, fmt.Errorf("line %d: the key must be the base64 of %d bytes", n, keySize)
		}
		seen[fields[0]] = n
		keys = append(keys, key{id: fields[0], secret: [keySize]byte(secret)})
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no key")
	}
	return keys, nil
}

// writeNewKey makes the file whole or not at all, and leaves one that came meanwhile as it is.
func writeNewKey(path string) error {
	random := make([]byte, 4+keySize)
	if _, err := rand.Read(random); err != nil {
		return fmt.Errorf("draw a key: %w", err)
	}
	text := fmt.Sprintf("# Keys that encrypt what crosses Temporal. The first encrypts, all decrypt. Keep it secret, and keep it:\n"+
		"# without it no history can be read.\nkey-%s %s\n",
		hex.EncodeToString(random[:4]), base64.StdEncoding.EncodeToString(random[4:]))

	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // by now it has its second name, or is not wanted
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, does not replace what another process made meanwhile.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
