package initproc

import (
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/proctree"
)

// Main is the init: it runs until it is told to end and returns the exit code of its process. File descriptor 3 is its
// listening control socket. Args are those after the init's name: without any its current directory is its state
// directory, and it is an init that Start has started; with [Inherited.Command]'s it is process 1 of a container.
func Main(args ...string) int {
	// UTC: the file that tells the local time belongs to the container.
	logger := log.New(os.Stderr, "", log.LstdFlags|log.Lmicroseconds|log.LUTC)
	o, err := parseOptions(args)
	if err == nil && o.probe {
		return 0
	}
	var s *server
	if err == nil {
		s, err = newServer(logger, o)
	}
	if err != nil {
		logger.Printf("cannot start: %v", err)
		return 1
	}
	go s.reap()
	go s.endWithState()
	go s.accept()
	<-s.ended
	return 0
}

// server is the init's side of the control socket.
type server struct {
	log      *log.Logger
	listener *net.UnixListener
	// contained: it is process 1 of a container.
	contained bool
	// forker starts jobs.
	forker forker
	// null is /dev/null.
	null *os.File

	mu    sync.Mutex
	jobs  map[uint32]*job
	byPID map[int]*job
	peers map[*peer]struct{}
	// forks counts the processes started. idle is closed while there is no process beneath; forked is told of a new one.
	forks uint64
	idle  chan struct{}
	// ending: no process is started any more.
	ending   bool
	forked   *sync.Cond
	forwards map[string]net.Listener

	// buffers are *outputBuffer: a job that writes nothing needs none.
	buffers sync.Pool
	tidier  tidier

	endOnce sync.Once
	ended   chan struct{}
}

func newServer(logger *log.Logger, o options) (*server, error) {
	s := &server{
		log: logger, contained: o.contained(), forker: directForker{},
		jobs: map[uint32]*job{}, byPID: map[int]*job{}, peers: map[*peer]struct{}{},
		idle: make(chan struct{}), forwards: map[string]net.Listener{}, ended: make(chan struct{}),
		buffers: sync.Pool{New: func() any { return new(outputBuffer) }},
	}
	close(s.idle)
	s.forked = sync.NewCond(&s.mu)
	// Jobs start with every signal at its default: what is caught is reset by exec, what is ignored is not.
	signal.Notify(make(chan os.Signal, 1), caught(s.contained)...)
	if err := resetCancel(); err != nil {
		return nil, err
	}
	if err := CloseOnExec(); err != nil {
		return nil, err
	}
	record, err := s.settle(o)
	if err != nil {
		return nil, err
	}
	if s.null, err = openNull(); err != nil {
		return nil, err
	}
	if s.listener, err = inheritListener(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(jobsName, dirMode); err != nil {
		return nil, err
	}
	return s, writeJSON(pidName, record)
}

// settle makes the process what it is to be, and tells which process that is.
func (s *server) settle(o options) (record pidRecord, err error) {
	if s.contained {
		s.forker, err = beFirst(o)
		return pidRecord{PID: 1}, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return record, fmt.Errorf("become reaper of orphans: %w", err)
	}
	self, err := proctree.Read(os.Getpid())
	return pidRecord{PID: self.PID, Start: self.Start}, err
}

func inheritListener() (*net.UnixListener, error) {
	file := os.NewFile(listenerFD, socketName)
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("control socket at file descriptor %d: %w", listenerFD, err)
	}
	_ = file.Close()
	unixListener, ok := listener.(*net.UnixListener)
	if !ok {
		return nil, errors.New("control socket is no unix socket")
	}
	return unixListener, nil
}

// openNull opens /dev/null once and for all: later on the root of a container may have put something else in its place,
// a link to what only the init can open.
func openNull() (*os.File, error) {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return nil, fmt.Errorf("look at %s: %w", os.DevNull, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFCHR || stat.Rdev != unix.Mkdev(1, 3) { //nolint:mnd // its number on every Linux
		return nil, fmt.Errorf("%s is another file", os.DevNull)
	}
	return f, nil
}

// pidRecord is init.json.
type pidRecord struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start,omitempty"`
}

// acceptPause is how long it takes until somebody is let in again who could not be.
const acceptPause = time.Second

func (s *server) accept() {
	for {
		nc, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Too many open files, here or on the machine: an init that nobody can connect to any more is as good as lost.
			s.log.Printf("control socket: %v", err)
			time.Sleep(acceptPause)
			continue
		}
		p := newPeer(nc)
		s.mu.Lock()
		s.peers[p] = struct{}{}
		s.mu.Unlock()
		p.send(reply{Hello: &hello{Version: Version, PID: os.Getpid()}})
		go p.write()
		go s.serve(p)
	}
}

func (s *server) serve(p *peer) {
	in := newMessages(p.conn, maxRequest)
	for {
		var req request
		if err := in.next(&req); err != nil {
			break
		}
		s.handle(p, &req)
	}
	s.mu.Lock()
	delete(s.peers, p)
	s.mu.Unlock()
	p.close()
}

func (s *server) handle(p *peer, req *request) {
	answer := func(r reply, err error) {
		if req.ID == 0 {
			return
		}
		r.ID = req.ID
		if err != nil {
			r.Error = err.Error()
		}
		p.send(r)
	}
	switch {
	case req.Op == opSpawn && req.Spawn != nil:
		answer(s.spawn(req.Spawn))
	case req.Op == opJobs:
		answer(reply{Jobs: s.list()}, nil)
	case req.Op == opWatch:
		p.watch(req.Job, true)
		answer(reply{}, nil)
	case req.Op == opUnwatch:
		p.watch(req.Job, false)
		answer(reply{}, nil)
	case req.Op == opForget:
		answer(reply{}, s.forget(req.Job))
	case req.Op == opForward && req.Forward != nil:
		answer(reply{}, s.forward(*req.Forward))
	case req.Op == opStop && req.Stop != nil:
		go func() {
			s.stop(req.Stop.Kill, req.Stop.Grace)
			answer(reply{}, nil)
		}()
	case req.Op == opShutdown:
		go func() {
			s.stopForGood()
			answer(reply{}, nil)
			p.flush()
			s.end()
		}()
	default:
		answer(reply{}, fmt.Errorf("unknown operation %q", req.Op))
	}
}

// stopForGood ends every process and lets none be started after them: a job that another connection asks for at this
// moment would outlive the init.
func (s *server) stopForGood() {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.stop(true, 0)
}

func (s *server) end() { s.endOnce.Do(func() { close(s.ended) }) }

// What fcntl(2) with F_NOTIFY tells of a directory: a file was removed, each time.
const dnDelete, dnMultishot = 0x8, 0x80000000

// endWithState ends the init, and all beneath it, when init.json is removed: a depot that somebody deletes leaves no
// process behind. Inotify would have the same to tell, but there can be but 128 users of it by default, containers of
// other users included.
func (s *server) endWithState() {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGIO)
	state, err := os.Open(".")
	if err == nil {
		defer func() { _ = state.Close() }()
		_, err = unix.FcntlInt(state.Fd(), unix.F_NOTIFY, dnDelete|dnMultishot)
	}
	if err != nil {
		s.log.Printf("cannot watch %s: %v", pidName, err)
		return
	}
	for {
		// At first too: it may have been removed before it was watched.
		if _, err := os.Stat(pidName); errors.Is(err, syscall.ENOENT) {
			s.stopForGood()
			s.end()
			return
		}
		<-changed
	}
}
