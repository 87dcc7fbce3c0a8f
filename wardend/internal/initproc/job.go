package initproc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// job is a process that was asked for, with what it wrote.
type job struct {
	// status is guarded by the server's lock.
	status JobStatus

	limit int64
	// drained is done when all that the main process wrote is kept.
	drained sync.WaitGroup
	pipes   []*os.File

	mu       sync.Mutex
	out      *os.File
	kept     int64
	overflow bool
	// closed: no more output is kept.
	closed bool
}

// child is the set of files that a job's main process gets.
type child struct {
	stdin          *os.File // our end
	stdout, stderr *os.File // our ends; nil when discarded
	files          []int    // its ends
	null           *os.File // what it has instead of the other ends when discarded
}

func (c *child) closeTheirs() {
	for _, fd := range c.files {
		_ = unix.Close(fd)
	}
}

func (c *child) closeOurs() {
	for _, f := range []*os.File{c.stdin, c.stdout, c.stderr} {
		if f != nil {
			_ = f.Close()
		}
	}
}

func newChild(discard bool, null *os.File) (c *child, err error) {
	c = &child{}
	defer func() {
		if err != nil {
			c.closeTheirs()
			c.closeOurs()
		}
	}()
	theirs, ours, err := pipe(true)
	if err != nil {
		return nil, err
	}
	c.stdin, c.files = ours, []int{theirs}
	if discard {
		c.null = null
		return c, nil
	}
	for _, end := range []**os.File{&c.stdout, &c.stderr} {
		theirs, ours, err := pipe(false)
		if err != nil {
			return nil, err
		}
		*end = ours
		c.files = append(c.files, theirs)
	}
	return c, nil
}

// fds are the process's standard input, output and error.
func (c *child) fds() []uintptr {
	fds := make([]uintptr, 0, standardFiles)
	for _, fd := range c.files {
		fds = append(fds, uintptr(fd))
	}
	for c.null != nil && len(fds) < standardFiles {
		fds = append(fds, c.null.Fd())
	}
	return fds
}

const standardFiles = 3

// give makes the pipes the user's, who can then open /dev/stdout and its like.
func (c *child) give(u *User) error {
	for _, fd := range c.files {
		if err := unix.Fchown(fd, int(u.UID), int(u.GID)); err != nil {
			return fmt.Errorf("give the job its pipes: %w", err)
		}
	}
	return nil
}

// pipe makes a pipe whose one end blocks, for a child, and whose other end is ours.
func pipe(weWrite bool) (theirs int, ours *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return 0, nil, fmt.Errorf("make a pipe: %w", err)
	}
	theirs, our := fds[1], fds[0]
	if weWrite {
		theirs, our = fds[0], fds[1]
	}
	if err := unix.SetNonblock(our, true); err != nil {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
		return 0, nil, fmt.Errorf("make a pipe: %w", err)
	}
	return theirs, os.NewFile(uintptr(our), "pipe"), nil
}

func (s *server) spawn(spec *SpawnSpec) (reply, error) {
	if len(spec.Args) == 0 {
		return reply{}, errors.New("no program to run")
	}
	c, err := newChild(spec.Discard, s.null)
	if err != nil {
		return reply{}, err
	}
	j := &job{status: JobStatus{Job: spec.Job}, limit: spec.OutputLimit}
	if err := s.fork(j, spec, c); err != nil {
		c.closeOurs()
		return reply{}, err
	}
	// The process waits for its standard input, so no line of the script runs without the limits.
	rest := awaitExec(c.stdin, spec)
	lowered := setRlimits(j.status.PID, spec.Rlimits)
	go feed(c.stdin, rest)
	return reply{PID: j.status.PID, Lowered: lowered}, nil
}

func (s *server) fork(j *job, spec *SpawnSpec, c *child) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer c.closeTheirs()
	switch {
	case s.ending:
		return errors.New("the container is being destroyed")
	case s.jobs[spec.Job] != nil:
		return fmt.Errorf("job %d exists already", spec.Job)
	case len(s.jobs) >= maxJobs:
		return errTooManyJobs
	}
	pid, err := s.exec(spec, c)
	if err != nil {
		return err
	}
	j.status.PID = pid
	s.jobs[spec.Job], s.byPID[pid] = j, j
	s.forks++
	select {
	case <-s.idle:
		s.idle = make(chan struct{})
	default:
	}
	s.forked.Broadcast()
	s.spend(spec)
	if err := writeJSON(ownFile(spec.Job, kindStarted), j.status); err != nil {
		s.log.Printf("job %d: cannot be written down: %v", spec.Job, err)
	}
	for stream, f := range map[Stream]*os.File{Stdout: c.stdout, Stderr: c.stderr} {
		if f != nil {
			j.pipes = append(j.pipes, f)
			j.drained.Add(1)
			go s.read(j, stream, f)
		}
	}
	return nil
}

func feed(stdin *os.File, script []byte) {
	defer func() { _ = stdin.Close() }()
	// A process that ends without reading its input is no error here.
	_, _ = stdin.Write(script)
}

const readSize = 16 << 10

// outputBuffer is for a record of output on its way from a pipe to a file.
type outputBuffer [recordHeader + readSize]byte

// fill reads from a pipe, and gives what there was.
func (b *outputBuffer) fill(fd uintptr) (data []byte, err error) {
	n, err := unix.Read(int(fd), b[recordHeader:])
	return b[recordHeader : recordHeader+max(n, 0)], err
}

// record makes a record of the first n bytes that were read.
func (b *outputBuffer) record(s Stream, n int) []byte {
	appendHeader(b[:0], s, n)
	return b[:recordHeader+n]
}

// read keeps one stream of a job's output until its main process has ended, and throws away what is written later by
// processes that it left behind: they must neither block nor be killed for writing.
func (s *server) read(j *job, stream Stream, f *os.File) {
	defer func() { _ = f.Close() }()
	keep := func(b *outputBuffer, n int) { s.keep(j, stream, b, n) }
	err := s.copyOut(f, keep)
	ended := errors.Is(err, os.ErrDeadlineExceeded)
	if ended {
		s.drain(f, keep)
	}
	j.drained.Done()
	if ended && f.SetReadDeadline(time.Time{}) == nil {
		_ = s.copyOut(f, func(*outputBuffer, int) {})
	}
}

// copyOut gives what comes out of a pipe until that ends. It holds a buffer only while there is something in the pipe.
func (s *server) copyOut(f *os.File, keep func(*outputBuffer, int)) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var data []byte
		var readErr error
		err := raw.Read(func(fd uintptr) bool {
			b := s.buffers.Get().(*outputBuffer)
			defer s.buffers.Put(b)
			if data, readErr = b.fill(fd); len(data) > 0 {
				keep(b, len(data))
			}
			return !errors.Is(readErr, unix.EAGAIN)
		})
		switch {
		case err != nil:
			return err
		case errors.Is(readErr, unix.EINTR):
		case readErr != nil:
			return readErr
		case len(data) == 0:
			return io.EOF
		}
	}
}

// maxPipe is the most that a pipe can hold by the kernel's default limits. Draining stops there: a process left
// behind might write for ever.
const maxPipe = 1 << 20

// drain reads what is in the pipe now.
func (s *server) drain(f *os.File, keep func(*outputBuffer, int)) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	b := s.buffers.Get().(*outputBuffer)
	defer s.buffers.Put(b)
	for total := 0; total < maxPipe; {
		var data []byte
		if err := raw.Control(func(fd uintptr) { data, _ = b.fill(fd) }); err != nil || len(data) == 0 {
			return
		}
		keep(b, len(data))
		total += len(data)
	}
}

// keep writes the first n bytes of what was read down, up to the limit. Exactly the limit is fine; the first byte over
// it ends the job.
func (s *server) keep(j *job, stream Stream, b *outputBuffer, n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.overflow || j.closed {
		return
	}
	if room := j.limit - j.kept; int64(n) > room {
		n = int(max(room, 0))
		j.overflow = true
		go s.killJob(j)
	}
	if n == 0 {
		return
	}
	if err := j.append(b.record(stream, n)); err != nil {
		// What follows would come after a gap, or after half a record, where no reader finds it.
		j.closed = true
		s.log.Printf("job %d: its output is not kept any more: %v", j.status.Job, err)
		return
	}
	j.kept += int64(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.peers {
		p.output(j.status.Job)
	}
}

func (j *job) append(record []byte) error {
	if j.out == nil {
		f, err := os.OpenFile(ownFile(j.status.Job, kindOut), os.O_CREATE|os.O_WRONLY|os.O_APPEND, fileMode)
		if err != nil {
			return err
		}
		j.out = f
	}
	_, err := j.out.Write(record)
	return err
}

// finish is called once when the main process has ended.
func (s *server) finish(j *job, ws syscall.WaitStatus) {
	for _, f := range j.pipes {
		// A reader that is at the end of its pipe already has closed it.
		_ = f.SetReadDeadline(time.Unix(1, 0))
	}
	j.drained.Wait()
	j.mu.Lock()
	j.closed = true
	overflow := j.overflow
	if j.out != nil {
		_ = j.out.Close()
	}
	j.mu.Unlock()

	s.mu.Lock()
	defer s.mu.Unlock()
	s.rested()
	j.status.Ended = true
	j.status.Overflow = overflow
	j.status.ExitStatus = ExitKilled
	if ws.Exited() && !overflow {
		j.status.ExitStatus = uint32(ws.ExitStatus()) //nolint:gosec // 0 to 255
	}
	if s.jobs[j.status.Job] != j {
		return
	}
	if err := writeJSON(ownFile(j.status.Job, kindExit), j.status); err != nil {
		s.log.Printf("job %d: its end cannot be written down: %v", j.status.Job, err)
	}
	ended := j.status
	for p := range s.peers {
		p.send(reply{Ended: &ended})
	}
}

func (s *server) list() []JobStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	jobs := make([]JobStatus, 0, len(s.jobs))
	for _, j := range s.jobs {
		jobs = append(jobs, j.status)
	}
	return jobs
}

func (s *server) forget(id uint32) error {
	s.mu.Lock()
	j := s.jobs[id]
	if j != nil && !j.status.Ended {
		s.mu.Unlock()
		return fmt.Errorf("job %d has not ended", id)
	}
	delete(s.jobs, id)
	s.mu.Unlock()
	return RemoveJob(".", id)
}
