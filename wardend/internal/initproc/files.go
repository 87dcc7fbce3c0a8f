package initproc

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Names in a state directory.
const (
	socketName = "control"
	pidName    = "init.json"
	logName    = "log"
	jobsName   = "jobs"
)

// Stream tells the streams of a job's output apart.
type Stream byte

// The streams.
const (
	Stdout Stream = 1
	Stderr Stream = 2
)

// String is the stream's name in the Warden protocol.
func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// maxRecord bounds a record of an output file, in bytes of data.
const maxRecord = 64 << 10

const recordHeader = 5

func appendRecord(b []byte, s Stream, data []byte) []byte {
	b = append(b, byte(s))
	b = binary.BigEndian.AppendUint32(b, uint32(len(data))) //nolint:gosec // at most maxRecord
	return append(b, data...)
}

// OutputReader reads a job's output while it grows.
type OutputReader struct {
	f      *os.File
	offset int64
}

// OpenOutput opens the output of a job. A job that has had no output yet, or keeps none, reads as empty.
func OpenOutput(dir string, job uint32) (*OutputReader, error) {
	r := &OutputReader{}
	return r, r.open(dir, job)
}

func (r *OutputReader) open(dir string, job uint32) error {
	f, err := os.Open(jobFile(dir, job, "out"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open output of job %d: %w", job, err)
	}
	r.f = f
	return nil
}

// Next gives the next record, or io.EOF when there is no whole one yet. After io.EOF it can be called again.
func (r *OutputReader) Next(dir string, job uint32) (Stream, []byte, error) {
	if r.f == nil {
		if err := r.open(dir, job); err != nil {
			return 0, nil, err
		}
		if r.f == nil {
			return 0, nil, io.EOF
		}
	}
	var header [recordHeader]byte
	if n, err := r.f.ReadAt(header[:], r.offset); n < recordHeader {
		return 0, nil, endOrError(err)
	}
	length := binary.BigEndian.Uint32(header[1:])
	if length > maxRecord {
		return 0, nil, fmt.Errorf("output of job %d is damaged at byte %d", job, r.offset)
	}
	data := make([]byte, length)
	if n, err := r.f.ReadAt(data, r.offset+recordHeader); n < len(data) {
		return 0, nil, endOrError(err)
	}
	r.offset += recordHeader + int64(length)
	return Stream(header[0]), data, nil
}

func endOrError(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return err
}

// Close closes the file.
func (r *OutputReader) Close() error {
	if r.f == nil {
		return nil
	}
	return r.f.Close()
}

// ReadOutput gives all output of a job so far.
func ReadOutput(dir string, job uint32) (stdout, stderr []byte, err error) {
	r, err := OpenOutput(dir, job)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = r.Close() }()
	for {
		stream, data, err := r.Next(dir, job)
		switch {
		case errors.Is(err, io.EOF):
			return stdout, stderr, nil
		case err != nil:
			return nil, nil, fmt.Errorf("read output of job %d: %w", job, err)
		case stream == Stderr:
			stderr = append(stderr, data...)
		default:
			stdout = append(stdout, data...)
		}
	}
}

// ReadJobs finds the jobs of a state directory whose init is not there to be asked: what was written down of those
// that have ended, and those that had not, as Ended with ExitKilled.
func ReadJobs(dir string) ([]JobStatus, error) {
	entries, err := os.ReadDir(filepath.Join(dir, jobsName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read jobs: %w", err)
	}
	var jobs []JobStatus
	for _, entry := range entries {
		number, ok := strings.CutSuffix(entry.Name(), ".job")
		if !ok {
			continue
		}
		id, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			continue
		}
		status := JobStatus{Job: uint32(id), Ended: true, ExitStatus: ExitKilled}
		if ended, err := readStatus(jobFile(dir, status.Job, "exit")); err == nil {
			status = ended
		}
		jobs = append(jobs, status)
	}
	return jobs, nil
}

// RemoveJob removes what is kept of a job.
func RemoveJob(dir string, job uint32) error {
	var errs []error
	// The .job file goes last: it is what says that the others may be there.
	for _, kind := range []string{"out", "exit", "job"} {
		if err := os.Remove(jobFile(dir, job, kind)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func jobFile(dir string, job uint32, kind string) string {
	return filepath.Join(dir, jobsName, strconv.FormatUint(uint64(job), 10)+"."+kind)
}

func readStatus(path string) (JobStatus, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return JobStatus{}, err
	}
	var status JobStatus
	if err := json.Unmarshal(raw, &status); err != nil {
		return JobStatus{}, fmt.Errorf("%s: %w", path, err)
	}
	return status, nil
}

// writeJSON writes a file whole or not at all.
func writeJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
