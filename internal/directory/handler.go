package directory

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/internal/gate"
)

// What a Resolver answers when it has no directory. They may be wrapped.
var (
	// ErrUnknown says that there is no such instance or task on this node.
	ErrUnknown = errors.New("not known on this node")
	// ErrNotYet says that it is known but has no directory yet; asking again later may help.
	ErrNotYet = errors.New("not available yet")
)

// Place is a directory on this node's disk.
type Place struct {
	// Open opens it, the same one each time for as long as it is there. Where users may have put links on the way to it,
	// it does not follow them out of what is theirs.
	Open func() (*os.Root, error)
	// Over says that nobody writes there any more: a tail ends where the file does.
	Over bool
}

// At is the place of a path that only the node itself can change.
func At(path string) Place {
	return Place{Open: func() (*os.Root, error) { return os.OpenRoot(path) }}
}

// Kept is At for what is over.
func Kept(path string) Place {
	place := At(path)
	place.Over = true
	return place
}

// Resolver finds the directory of an instance or a task. id is as it stands in the URL, but it was signed. Any error
// but ErrUnknown and ErrNotYet is the node's fault. It is called concurrently.
type Resolver func(ctx context.Context, id string) (Place, error)

// Options make a directory server.
type Options struct {
	// Keys are those whose signatures are honoured, at least one; empty keys are passed over.
	Keys [][]byte
	// Instances and Stagings find directories; nil knows none.
	Instances, Stagings Resolver
	// Stats has measured the node; nil has measured nothing.
	Stats Stats
	// Log is where faults and refusals are told of; nil for nowhere. URLs' signatures are never logged.
	Log hclog.Logger
	// MaxTails and MaxReads bound how many tails, and how many other answers, are under way; half of each for one
	// directory. 0 is 1024 tails, or as many as fit in half of the files that the process may open, and 256 others.
	MaxTails, MaxReads int
	// Patience is how long a reader may take for a piece of at most 32 KB before it is given up; 0 for a minute.
	Patience time.Duration
	// Now is the clock that URLs expire by; nil for time.Now.
	Now func() time.Time
}

// New makes the server's handler. A tail lasts as long as its request's context: cancel the http.Server's
// BaseContext to break all of them off.
func New(o Options) http.Handler {
	s := &server{
		log: o.Log, now: o.Now, patience: cmp.Or(o.Patience, time.Minute),
		tails: newGate(cmp.Or(o.MaxTails, tailsFor(defaultTails))), reads: newGate(cmp.Or(o.MaxReads, defaultReads)),
	}
	for _, key := range o.Keys {
		if len(key) > 0 {
			s.keys = append(s.keys, key)
		}
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if len(s.keys) == 0 {
		s.log.Error("no key: every URL will be refused")
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+"/"+string(Instance)+"/{id}", s.reader(Instance, o.Instances))
	mux.Handle("GET "+"/"+string(Staging)+"/{id}/file_path", s.reader(Staging, o.Stagings))
	mux.Handle("GET "+"/"+string(instanceLogs)+"/{id}", s.logs(o.Instances))
	mux.Handle("GET "+"/"+string(nodeStats), s.statistics(nodeStats, o.Stats))
	mux.Handle("GET "+"/"+string(instanceStats)+"/{id}", s.statistics(instanceStats, o.Stats))
	return mux
}

type server struct {
	keys [][]byte
	log  hclog.Logger
	now  func() time.Time
	// patience is how long a reader may take for a piece.
	patience time.Duration
	// tails and reads bound what is under way.
	tails, reads *gate.Gate
}

// reader answers the requests for one kind of directory.
func (s *server) reader(kind Kind, resolve Resolver) http.Handler {
	return s.answering(func(w http.ResponseWriter, r *http.Request) error { return s.read(w, r, kind, resolve) })
}

// answering makes a handler of what answers a request, or returns why not and has written nothing.
func (s *server) answering(answer func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Signed URLs are not to be kept, nor content of users' taken for anything but what it is labelled as.
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if err := answer(w, r); err != nil {
			s.refuse(w, r, err)
		}
	})
}

// find counts an answer about a directory until leave, and finds the directory.
func (s *server) find(r *http.Request, kind Kind, resolve Resolver, follows bool) (place Place, leave func(), err error) {
	if resolve == nil {
		return Place{}, nil, ErrUnknown
	}
	under, id := s.reads, r.PathValue("id")
	if follows {
		under = s.tails
	}
	leave, ok := under.Enter(urlPath(kind, id))
	if !ok {
		return Place{}, nil, errBusy
	}
	if place, err = resolve(r.Context(), id); err != nil {
		leave()
		return Place{}, nil, err
	}
	return place, leave, nil
}

// read answers a request, as answering has it.
func (s *server) read(w http.ResponseWriter, r *http.Request, kind Kind, resolve Resolver) error {
	id, query := r.PathValue("id"), r.URL.Query()
	if err := verify(s.keys, kind, id, query, s.now()); err != nil {
		return err
	}
	name, err := localName(query.Get(paramPath))
	if err != nil {
		return err
	}
	place, leave, err := s.find(r, kind, resolve, query.Has(paramTail))
	if err != nil {
		return err
	}
	defer leave()
	root, err := place.Open()
	if err != nil {
		return reason(err)
	}
	defer func() { _ = root.Close() }()
	f, info, err := open(root, name)
	if err != nil {
		return err
	}
	if query.Has(paramTail) {
		t := tail{root: root, place: place, name: name, file: f, patience: s.patience}
		defer t.close()
		return t.serve(w, r, info)
	}
	defer func() { _ = f.Close() }()
	w = newSender(w, s.patience)
	if info.IsDir() {
		return serveListing(w, r, f, s.linker(kind, id, query))
	}
	return serveFile(w, r, f, info)
}

// linker makes links to what is beneath the directory of a request. They are signed with the request's own time, so that
// they last no longer than its own URL.
func (s *server) linker(kind Kind, id string, query url.Values) func(path string) string {
	return func(path string) string {
		link := signedQuery(s.keys[0], kind, id, path, query.Get(paramTimestamp))
		if query.Has(paramFormat) {
			link.Set(paramFormat, query.Get(paramFormat))
		}
		return "?" + link.Encode()
	}
}

// refuse answers with the status and the sentence of an error.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, words := explain(err)
	if status == http.StatusInternalServerError {
		s.log.Error("cannot read", "path", r.URL.Path, "error", err)
	} else {
		s.log.Debug("refused", "path", r.URL.Path, "status", status, "reason", err)
	}
	if errors.Is(err, errBusy) {
		w.Header().Set("Retry-After", retryAfter)
	}
	http.Error(w, words, status)
}

// retryAfter is the seconds after which who was refused because the node is busy may try again. An answer of 503 without
// it means that there is nothing to read yet.
const retryAfter = "2"

// explain gives the status and the words for the user. Words never hold a place on the node's disk.
func explain(err error) (status int, words string) {
	for _, known := range []struct {
		err    error
		status int
	}{
		{errBadHMAC, http.StatusUnauthorized},
		{errExpired, http.StatusBadRequest},
		{errNoTail, http.StatusBadRequest},
		{errBadOffset, http.StatusBadRequest},
		{errBadLogs, http.StatusBadRequest},
		{errBadFormat, http.StatusBadRequest},
		{errRanges, http.StatusRequestedRangeNotSatisfiable},
		{errBusy, http.StatusServiceUnavailable},
		{errOutside, http.StatusForbidden},
		{errNoFile, http.StatusForbidden},
		{errForbidden, http.StatusForbidden},
		{errMissing, http.StatusNotFound},
		{ErrUnknown, http.StatusNotFound},
		{ErrNotYet, http.StatusServiceUnavailable},
	} {
		if errors.Is(err, known.err) {
			return known.status, known.err.Error()
		}
	}
	return http.StatusInternalServerError, "the node cannot read it"
}
