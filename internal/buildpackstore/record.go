package buildpackstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/durable-dea/dea/internal/safename"
)

// Record says what a buildpack was made of. It holds no URL: credentials may stand in one.
type Record struct {
	Key string `json:"key"`
	// SHA256 is that of the zip, in hex, and Bytes its size.
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
	// Entries and UnpackedBytes are what was in it.
	Entries       int       `json:"entries"`
	UnpackedBytes int64     `json:"unpacked_bytes"`
	Fetched       time.Time `json:"fetched"`
}

var hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

// maxRecord bounds what is read of a file of this package's own, in bytes.
const maxRecord = 1 << 20

func (s *Store) recordPath(name string) string { return filepath.Join(s.dir, ".records", name+".json") }

// record is that of a key; false when there is none that can be read.
func (s *Store) record(key string) (Record, bool) {
	var r Record
	err := readJSON(s.recordPath(safename.Of(key)), &r)
	return r, err == nil && r.Key == key && hexSHA256.MatchString(r.SHA256)
}

func readJSON(path string, into any) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxRecord))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// writeJSON makes a file appear whole, and still be whole after the machine has lost power. tmp is on the same file
// system, and nobody else's.
func writeJSON(path, tmp string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(append(data, '\n'))
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

// Named notes that a request names keys, used by it or not: from now on their lifetime begins anew. Keys that are not
// here are no error.
func (s *Store) Named(keys ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, key := range keys {
		err := os.Chtimes(s.recordPath(safename.Of(key)), now, now)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("note when the buildpack was named: %w", err)
		}
	}
	return nil
}

// lastNamed is when a request last named what is in the directory name; for one without a record, when it was made.
func (s *Store) lastNamed(name string) time.Time {
	info, err := os.Stat(s.recordPath(name))
	if err != nil {
		info, err = os.Lstat(filepath.Join(s.dir, name))
	}
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
