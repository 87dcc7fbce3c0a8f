package initproc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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

// maxRecord bounds a record of an output file, in bytes of data. An init writes none that is empty.
const maxRecord = 64 << 10

const recordHeader = 5

func appendHeader(b []byte, s Stream, length int) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(s)), uint32(length)) //nolint:gosec // at most maxRecord
}

// OutputReader reads a job's output while it grows.
type OutputReader struct {
	f *os.File
	// offset is where in the file the next byte is read, which comes after those in buf.
	offset int64
	buf    []byte
	// room is how many bytes of output may still be given.
	room int64
}

// OpenOutputUpTo opens the output of a job. A job that has had no output yet, or keeps none, reads as empty. What comes
// after limit bytes of output, the job's SpawnSpec.OutputLimit, is not there: an init may have been taken over.
func OpenOutputUpTo(dir string, job uint32, limit int64) (*OutputReader, error) {
	r := &OutputReader{room: limit}
	return r, r.open(dir, job)
}

func (r *OutputReader) open(dir string, job uint32) error {
	jobs, err := openJobs(dir)
	if err != nil {
		return notThereIsFine(err)
	}
	defer func() { _ = jobs.Close() }()
	f, err := jobs.open(jobFile(job, kindOut))
	if err != nil {
		return notThereIsFine(err)
	}
	r.f = f
	return nil
}

func notThereIsFine(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("open output: %w", err)
}

// Next gives the next record, or io.EOF when there is no whole one yet. After io.EOF it can be called again. The data
// is the caller's.
func (r *OutputReader) Next(dir string, job uint32) (Stream, []byte, error) {
	if r.room <= 0 {
		return 0, nil, io.EOF
	}
	if r.f == nil {
		if err := r.open(dir, job); err != nil {
			return 0, nil, err
		}
		if r.f == nil {
			return 0, nil, io.EOF
		}
	}
	if err := r.fill(recordHeader); err != nil {
		return 0, nil, err
	}
	stream, length := Stream(r.buf[0]), binary.BigEndian.Uint32(r.buf[1:recordHeader])
	if length == 0 || length > maxRecord || (stream != Stdout && stream != Stderr) {
		return 0, nil, fmt.Errorf("output of job %d is damaged", job)
	}
	if err := r.fill(recordHeader + int(length)); err != nil {
		return 0, nil, err
	}
	data := append([]byte(nil), r.buf[recordHeader:recordHeader+int(min(int64(length), r.room))]...)
	r.buf = r.buf[recordHeader+int(length):]
	r.room -= int64(len(data))
	return stream, data, nil
}

// fill sees to it that n bytes are in buf. It gives io.EOF when there are not as many.
func (r *OutputReader) fill(n int) error {
	if len(r.buf) >= n {
		return nil
	}
	const most = maxRecord + recordHeader
	buf := make([]byte, most)
	have := copy(buf, r.buf)
	got, err := r.f.ReadAt(buf[have:], r.offset)
	r.offset += int64(got)
	r.buf = buf[:have+got]
	switch {
	case len(r.buf) >= n:
		return nil
	case err == nil, errors.Is(err, io.EOF):
		return io.EOF
	default:
		return err
	}
}

// Close closes the file.
func (r *OutputReader) Close() error {
	if r.f == nil {
		return nil
	}
	return r.f.Close()
}

// ReadOutputUpTo gives the output of a job so far, at most limit bytes, the job's SpawnSpec.OutputLimit. After an error
// it gives what came before.
func ReadOutputUpTo(dir string, job uint32, limit int64) (stdout, stderr []byte, err error) {
	r, err := OpenOutputUpTo(dir, job, limit)
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
			return stdout, stderr, fmt.Errorf("read output of job %d: %w", job, err)
		case stream == Stderr:
			stderr = append(stderr, data...)
		default:
			stdout = append(stdout, data...)
		}
	}
}
