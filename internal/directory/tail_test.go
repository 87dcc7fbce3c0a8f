package directory

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestATailSendsWhatIsThereAndWhatIsAppended(t *testing.T) {
	n := newNode(t)
	n.write("log", "one\n")
	f := n.follow(n.url("log", true))
	f.expect("one\n")
	for i := range 20 {
		line := fmt.Sprintf("line %d\n", i)
		n.append("log", line)
		f.expect(line)
	}
	big := strings.Repeat("x", 3*pieceBytes) + "\n"
	n.append("log", big)
	f.expect(big)
}

func TestATailBeginsWhereItIsAsked(t *testing.T) {
	n := newNode(t)
	n.write("log", "one\ntwo\nthree\n")
	signed := n.url("log", true)
	for offset, lines := range map[string][]string{
		"4": {"two\n", "three\n"}, "-6": {"three\n"}, "-1000": {"one\n", "two\n", "three\n"}, "14": {}, "1000": {"one\n", "two\n", "three\n"},
	} {
		f := n.follow(n.with(signed, paramTailOffset, offset))
		f.expect(lines...)
		f.cancel()
		<-f.ended
	}
	end := n.follow(n.without(signed, paramTailOffset))
	n.append("log", "four\n")
	end.expect("four\n")
	require.Equal(t, http.StatusBadRequest, n.get(n.with(signed, paramTailOffset, "x")).status)
}

func TestATailNeedsAFile(t *testing.T) {
	n := newNode(t)
	require.Equal(t, http.StatusBadRequest, n.get(n.url("", true)).status)
	require.Equal(t, http.StatusNotFound, n.get(n.url("nothing", true)).status)
}

func TestATailSurvivesTruncation(t *testing.T) {
	n := newNode(t)
	n.write("log", "one\ntwo\n")
	f := n.follow(n.url("log", true))
	f.expect("one\n", "two\n")
	require.NoError(t, os.Truncate(filepath.Join(n.instance, "log"), 0))
	n.append("log", "new\n")
	f.expect("new\n")
}

func TestATailSurvivesRotation(t *testing.T) {
	n := newNode(t)
	n.write("log", "one\n")
	f := n.follow(n.url("log", true))
	f.expect("one\n")
	for i := range 5 {
		// The last lines before and the first after a rotation are both there.
		last, first := fmt.Sprintf("last %d\n", i), fmt.Sprintf("first %d\n", i)
		n.append("log", last)
		require.NoError(t, os.Rename(filepath.Join(n.instance, "log"), filepath.Join(n.instance, "log.1")))
		n.append("log", first)
		f.expect(last, first)
	}
	// Removed, then made anew later.
	require.NoError(t, os.Remove(filepath.Join(n.instance, "log")))
	n.append("other", "x")
	n.append("log", "again\n")
	f.expect("again\n")
}

// TestATailOfOneFileTellsHowToGoOn: whoever was cut off counts in a file that has another name by then, or is no more.
func TestATailOfOneFileTellsHowToGoOn(t *testing.T) {
	n := newNode(t)
	n.write("log", "one\n")
	log := filepath.Join(n.instance, "log")
	begin := func(file string, offset int) *oneFile {
		signed := n.with(n.with(n.url("log", true), paramTailFile, file), paramTailOffset, strconv.Itoa(offset))
		answer, err := n.http.Client().Get(signed)
		require.NoError(t, err)
		t.Cleanup(func() { _ = answer.Body.Close() })
		return &oneFile{t: t, Response: answer}
	}
	answer := begin("", 0)
	answer.expect("one\n")
	first := answer.Header.Get(headerTailFile)
	require.NotEmpty(t, first)
	n.append("log", "two\n")
	answer.expect("two\n")
	answer = begin(first, 4)
	require.Equal(t, first, answer.Header.Get(headerTailFile))
	require.Equal(t, "4", answer.Header.Get(headerTailOffset))
	answer.expect("two\n")

	require.NoError(t, os.Rename(log, log+".1"))
	n.append("log.1", "last\n")
	n.append("log", "another, and longer\n")
	answer.expect("last\n")
	answer.expectNext()
	answer = begin(first, 8)
	require.Equal(t, "0", answer.Header.Get(headerTailOffset), "none of this file was read")
	answer.expect("another, and longer\n")
	require.NotEqual(t, first, answer.Header.Get(headerTailFile))

	require.NoError(t, os.Truncate(log, 0))
	answer.expectNext()
	answer = begin(answer.Header.Get(headerTailFile), 20)
	n.append("log", "anew\n")
	answer.expect("anew\n")
}

// oneFile is an answer of one file.
type oneFile struct {
	*http.Response
	t *testing.T
}

func (o *oneFile) expect(want string) {
	o.t.Helper()
	got := make([]byte, len(want))
	_, err := io.ReadFull(o.Body, got)
	require.NoError(o.t, err)
	require.Equal(o.t, want, string(got))
}

// expectNext waits for the end of the answer, with nothing more of the file.
func (o *oneFile) expectNext() {
	o.t.Helper()
	rest, err := io.ReadAll(o.Body)
	require.NoError(o.t, err)
	require.Empty(o.t, rest)
	require.Equal(o.t, "1", o.Trailer.Get(trailerTailNext))
}

// TestWhatIsKeptIsGoneOnWith though it is a copy of the file that was followed.
func TestWhatIsKeptIsGoneOnWith(t *testing.T) {
	n := newNode(t)
	n.write("log", "one\ntwo\n")
	signed := SignedURL(n.http.URL, n.key, Instance, "over", "log", time.Now(), true)
	a := n.get(n.with(n.with(signed, paramTailFile, "another"), paramTailOffset, "4"))
	require.Equal(t, "two\n", a.body)
	require.Equal(t, "0", a.trailer.Get(trailerTailNext), "its end is told from one whose trailers were dropped")
}

func TestATailIsNotLedOutsideByRotation(t *testing.T) {
	n := newNode(t)
	require.NoError(t, os.WriteFile(filepath.Join(n.base, "key"), []byte("secret\n"), 0o600))
	n.write("log", "one\n")
	f := n.follow(n.url("log", true))
	f.expect("one\n")
	log := filepath.Join(n.instance, "log")
	require.NoError(t, os.Rename(log, log+".1"))
	require.NoError(t, os.Symlink("../key", log))
	n.append("log.1", "still the old one\n")
	f.expect("still the old one\n")
	require.NoError(t, os.Remove(log))
	n.append("log", "the next\n")
	f.expect("the next\n")
}

func TestATailEndsWithItsDirectory(t *testing.T) {
	for name, end := range map[string]func(string) error{
		"removed": os.RemoveAll,
		"moved":   func(dir string) error { return os.Rename(dir, dir+"-crashed") },
		"replaced": func(dir string) error {
			if err := os.Rename(dir, dir+"-old"); err != nil {
				return err
			}
			return os.Mkdir(dir, 0o755)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.write("log", "one\n")
			f := n.follow(n.url("log", true))
			f.expect("one\n")
			// What is written just before the end is still sent.
			n.append("log", "last words\n")
			require.NoError(t, end(n.instance))
			f.expect("last words\n")
			f.expectEnd()
		})
	}
}

// TestADirectoryIsGoneOnlyWhereThatIsSeen: a node that can open nothing for a while does not end what its readers follow.
func TestADirectoryIsGoneOnlyWhereThatIsSeen(t *testing.T) {
	for number, gone := range map[syscall.Errno]bool{
		unix.ENOENT: true, unix.ENOTDIR: true, unix.EACCES: true,
		unix.EMFILE: false, unix.ENFILE: false, unix.ENOMEM: false, unix.EIO: false, unix.EINTR: false,
	} {
		f := tail{place: Place{Open: func() (*os.Root, error) {
			return nil, fmt.Errorf("open the container's root: %w", &os.PathError{Op: "openat", Path: "home/vcap", Err: number})
		}}}
		require.Equal(t, gone, f.gone(), number)
	}
}

// TestATailOfWhatIsOver: nobody writes there any more, so that nothing is to be waited for.
func TestATailOfWhatIsOver(t *testing.T) {
	n := newNode(t)
	n.write("log", "one\ntwo\n")
	f := n.follow(SignedURL(n.http.URL, n.key, Instance, "over", "log", time.Now(), true))
	f.expect("one\n", "two\n")
	f.expectEnd()
}

func TestATailEndsWithItsClientOrServer(t *testing.T) {
	n := newNode(t)
	n.write("log", "one\n")
	var running context.CancelFunc
	server := httptest.NewUnstartedServer(n.http.Config.Handler)
	server.Config.BaseContext = func(net.Listener) context.Context {
		ctx, cancel := context.WithCancel(context.Background())
		running = cancel
		return ctx
	}
	server.Start()
	defer server.Close()
	signed := strings.Replace(n.url("log", true), n.http.URL, server.URL, 1)

	before := runtime.NumGoroutine()
	for range 20 {
		f := n.follow(signed)
		f.expect("one\n")
		f.cancel()
		<-f.ended
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+5 }, patience, 5*time.Millisecond)

	f := n.follow(signed)
	f.expect("one\n")
	running()
	f.expectEnd()
}

func TestATailOutlivesItsServersTimeouts(t *testing.T) {
	const timeout = 50 * time.Millisecond
	n := newNode(t)
	n.write("log", "one\n")
	server := httptest.NewUnstartedServer(n.http.Config.Handler)
	server.Config.ReadTimeout, server.Config.WriteTimeout = timeout, timeout
	server.Start()
	defer server.Close()
	f := n.follow(strings.Replace(n.url("log", true), n.http.URL, server.URL, 1))
	f.expect("one\n")
	for range 2 {
		<-time.After(3 * timeout)
		n.append("log", "later\n")
		f.expect("later\n")
	}
	f.cancel()
	<-f.ended
}

func TestAReaderThatStopsReadingHoldsNobodyUp(t *testing.T) {
	n := newNode(t)
	n.write("log", strings.Repeat(strings.Repeat("x", 99)+"\n", 200_000))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url("log", true), nil)
	require.NoError(t, err)
	stuck, err := n.http.Client().Do(r)
	require.NoError(t, err)
	defer func() { _ = stuck.Body.Close() }()
	f := n.follow(n.without(n.url("log", true), paramTailOffset))
	n.append("log", "news\n")
	f.expect("news\n")
	require.Equal(t, http.StatusOK, n.read("").status)
}
