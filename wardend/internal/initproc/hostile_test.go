package initproc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func appendRecord(b []byte, s Stream, data []byte) []byte {
	return append(appendHeader(b, s, len(data)), data...)
}

// hostileDir is a state directory whose init does what it likes.
func hostileDir(t testing.TB) (dir, jobs string) {
	t.Helper()
	dir = t.TempDir()
	jobs = filepath.Join(dir, jobsName)
	require.NoError(t, os.Mkdir(jobs, 0o700))
	return dir, jobs
}

// allocated is how much memory f asks for, in bytes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// sparse makes a file with some content that is as large as ten gigabytes.
func sparse(t testing.TB, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	require.NoError(t, os.Truncate(path, 10<<30))
}

// instead puts something in a file's place that is none.
func instead(t testing.TB, secret string) map[string]func(path string) error {
	t.Helper()
	return map[string]func(string) error{
		"link":      func(path string) error { return os.Symlink(secret, path) },
		"pipe":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"socket": func(path string) error {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			return errors.Join(withShortPath(filepath.Dir(path), func(short string) error {
				return unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Dir(short) + "/" + filepath.Base(path)})
			}), unix.Close(fd))
		},
	}
}

// TestWhatIsNoFileIsNotRead: reading a state directory neither follows a link, nor waits, nor removes what is elsewhere.
func TestWhatIsNoFileIsNotRead(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	content := string(appendRecord(nil, Stdout, []byte("secret")))
	require.NoError(t, os.WriteFile(secret, []byte(content), 0o600))
	for name, put := range instead(t, secret) {
		t.Run(name, func(t *testing.T) {
			dir, jobs := hostileDir(t)
			require.NoError(t, os.WriteFile(filepath.Join(jobs, "1.job"), nil, 0o600))
			for _, file := range []string{"1.out", "1.exit"} {
				require.NoError(t, put(filepath.Join(jobs, file)))
			}
			for _, file := range []string{logName, pidName} {
				require.NoError(t, put(filepath.Join(dir, file)))
			}
			if name != "socket" {
				require.NoError(t, put(filepath.Join(dir, socketName)))
			}
			stdout, _, err := ReadOutputUpTo(dir, 1, 1000)
			require.Error(t, err)
			require.Empty(t, stdout)
			found, err := ReadJobs(dir)
			require.NoError(t, err)
			require.Equal(t, []JobStatus{{Job: 1, Ended: true, ExitStatus: ExitKilled}}, found)
			require.Empty(t, lastWords(dir))
			require.Error(t, Kill(dir))
			_, err = Connect(t.Context(), dir, Events{})
			require.ErrorIs(t, err, ErrLost)
			_ = RemoveJob(dir, 1)
			raw, err := os.ReadFile(secret)
			require.NoError(t, err)
			require.Equal(t, content, string(raw))
		})
	}
}

// TestADirectoryElsewhere in the place of the jobs' or of the state directory.
func TestADirectoryElsewhere(t *testing.T) {
	elsewhere, jobs := hostileDir(t)
	require.NoError(t, os.WriteFile(filepath.Join(jobs, "1.job"), []byte("{}"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(jobs, "1.out"), appendRecord(nil, Stdout, []byte("x")), 0o600))
	dir := t.TempDir()
	require.NoError(t, os.Symlink(jobs, filepath.Join(dir, jobsName)))
	link := filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.Symlink(elsewhere, link))
	for _, d := range []string{dir, link} {
		_, _, err := ReadOutputUpTo(d, 1, 1000)
		require.Error(t, err)
		_, err = ReadJobs(d)
		require.Error(t, err)
		require.Error(t, RemoveJob(d, 1))
	}
	entries, err := os.ReadDir(jobs)
	require.NoError(t, err)
	require.Len(t, entries, 2)
}

// TestLargeFilesAreNotRead further than they are needed.
func TestLargeFilesAreNotRead(t *testing.T) {
	dir, jobs := hostileDir(t)
	sparse(t, filepath.Join(jobs, "1.job"), "{}")
	sparse(t, filepath.Join(jobs, "1.exit"), `{"job":1,"exit_status":0}`)
	sparse(t, filepath.Join(dir, logName), "log")
	sparse(t, filepath.Join(dir, pidName), "{}")
	record := appendRecord(nil, Stdout, bytes.Repeat([]byte("x"), maxRecord))
	out, err := os.Create(filepath.Join(jobs, "1.out"))
	require.NoError(t, err)
	for range 100 {
		_, err := out.Write(record)
		require.NoError(t, err)
	}
	require.NoError(t, out.Close())
	sparse(t, filepath.Join(jobs, "2.out"), "")
	const limit = 100000
	require.Less(t, allocated(func() {
		found, err := ReadJobs(dir)
		require.NoError(t, err)
		require.EqualValues(t, ExitKilled, found[0].ExitStatus)
		require.Error(t, Kill(dir))
		_ = lastWords(dir)
		stdout, stderr, err := ReadOutputUpTo(dir, 1, limit)
		require.NoError(t, err)
		require.Len(t, stdout, limit)
		require.Empty(t, stderr)
		_, _, err = ReadOutputUpTo(dir, 2, limit)
		require.ErrorContains(t, err, "damaged")
	}), uint64(2<<20))

	r, err := OpenOutputUpTo(dir, 1, limit)
	require.NoError(t, err)
	total := 0
	for {
		_, data, err := r.Next(dir, 1)
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		total += len(data)
	}
	require.Equal(t, limit, total)
	require.NoError(t, r.Close())
}

// TestStatusesThatLie: a file tells of the job that it is named for.
func TestStatusesThatLie(t *testing.T) {
	dir, jobs := hostileDir(t)
	for name, content := range map[string]string{
		"1.job": "", "1.exit": `{"job":7,"ended":false,"exit_status":3}`, "x.job": "{}", "-1.job": "{}", "4294967296.job": "{}",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(jobs, name), []byte(content), 0o600))
	}
	found, err := ReadJobs(dir)
	require.NoError(t, err)
	require.Equal(t, []JobStatus{{Job: 1, Ended: true, ExitStatus: 3}}, found)
}

// TestTooManyFiles are not listed to the end.
func TestTooManyFiles(t *testing.T) {
	dir, jobs := hostileDir(t)
	for i := range maxJobs + 1000 {
		require.NoError(t, os.Symlink("x", filepath.Join(jobs, strconv.Itoa(i)+".job")))
	}
	found, err := ReadJobs(dir)
	require.ErrorIs(t, err, errTooManyJobs)
	require.GreaterOrEqual(t, len(found), maxJobs)
}

// serveHostile answers the first who connects.
func serveHostile(t testing.TB, answer func(net.Conn)) (dir string) {
	t.Helper()
	dir = t.TempDir()
	var listener *net.UnixListener
	require.NoError(t, withShortPath(dir, func(path string) (err error) {
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		answer(conn)
		_ = conn.Close()
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return dir
}

const helloLine = `{"hello":{"version":2,"pid":1}}` + "\n"

func TestMessagesAreBounded(t *testing.T) {
	endless := bytes.Repeat([]byte("x"), 1<<20)
	flood := func(conn net.Conn) {
		for range 200 {
			if _, err := conn.Write(endless); err != nil {
				return
			}
		}
	}
	var err error
	require.Less(t, allocated(func() {
		dir := serveHostile(t, flood)
		_, err = Connect(t.Context(), dir, Events{})
	}), uint64(8*maxReply))
	require.ErrorIs(t, err, ErrLost)
	require.ErrorContains(t, err, "longer than")

	lost := make(chan error, 1)
	require.Less(t, allocated(func() {
		c, err := Connect(t.Context(), serveHostile(t, func(conn net.Conn) {
			_, _ = conn.Write([]byte(helloLine + `{"id":1,"jobs":[`))
			flood(conn)
		}), Events{Lost: func(err error) { lost <- err }})
		require.NoError(t, err)
		_, err = c.Jobs(t.Context())
		require.ErrorIs(t, err, ErrLost)
		require.ErrorContains(t, <-lost, "longer than")
	}), uint64(8*maxReply))
}

func TestWordsOfAHostileInit(t *testing.T) {
	c, err := Connect(t.Context(), serveHostile(t, func(conn net.Conn) {
		_, _ = conn.Write([]byte(helloLine))
		_, _ = conn.Write([]byte(`{"id":1,"error":"\u001b[31mred` + strings.Repeat("x", 1<<20) + `","lowered":["nofile","\u001b[0m","nofile"]}` + "\n"))
		_, _ = conn.Write([]byte(`{"id":99,"error":"nobody asked"}` + "\n" + `[1,2` + "\n"))
		_, _ = io.Copy(io.Discard, conn)
	}), Events{})
	require.NoError(t, err)
	lowered, err := c.Spawn(t.Context(), &SpawnSpec{Rlimits: []Rlimit{{Name: "nofile"}, {Name: "nproc"}}})
	require.Equal(t, []string{"nofile"}, lowered)
	require.Error(t, err)
	require.LessOrEqual(t, len(err.Error()), maxWords)
	require.NotContains(t, err.Error(), "\x1b")
	require.Eventually(t, c.Lost, wait, tick, "what is no message ends it")
	c.Close()
}

// TestEndsThatAreMadeUp: an init can tell of the end of any number of jobs.
func TestEndsThatAreMadeUp(t *testing.T) {
	told := map[uint32]int{}
	lost := make(chan error, 1)
	c, err := Connect(t.Context(), serveHostile(t, func(conn net.Conn) {
		var all bytes.Buffer
		all.WriteString(helloLine)
		for i := range 3 * maxJobs {
			_, _ = all.WriteString(`{"ended":{"job":` + strconv.Itoa(i+100) + `,"ended":true}}` + "\n")
		}
		request := make([]byte, 1000)
		_, _ = conn.Write(all.Bytes())
		_, _ = conn.Read(request)
		_, _ = conn.Write([]byte(`{"ended":{"job":1,"ended":true}}` + "\n" + `{"id":1}` + "\n"))
	}), Events{Ended: func(j JobStatus) { told[j.Job]++ }, Lost: func(err error) { lost <- err }})
	require.NoError(t, err)
	_, err = c.Spawn(t.Context(), &SpawnSpec{Job: 1})
	require.NoError(t, err)
	require.Error(t, <-lost)
	require.Equal(t, 1, told[1], "what was asked for is told")
	require.Len(t, told, maxJobs+1)
}

// TestMoreJobsThanThereCanBe are not believed.
func TestMoreJobsThanThereCanBe(t *testing.T) {
	c, err := Connect(t.Context(), serveHostile(t, func(conn net.Conn) {
		_, _ = conn.Write([]byte(helloLine))
		_, _ = conn.Read(make([]byte, 1000))
		_, _ = conn.Write([]byte(`{"id":1,"jobs":[{}` + strings.Repeat(",{}", maxJobs) + "]}\n"))
		_, _ = io.Copy(io.Discard, conn)
	}), Events{})
	require.NoError(t, err)
	_, err = c.Jobs(t.Context())
	require.ErrorIs(t, err, errTooManyJobs)
	c.Close()
}

// TestAnInitThatReadsNothing keeps nobody longer than they want to wait.
func TestAnInitThatReadsNothing(t *testing.T) {
	end := make(chan struct{})
	c, err := Connect(t.Context(), serveHostile(t, func(conn net.Conn) {
		_, _ = conn.Write([]byte(helloLine))
		<-end
	}), Events{})
	require.NoError(t, err)
	full := make(chan error, 1)
	go func() {
		_, err := c.Spawn(context.Background(), &SpawnSpec{Stdin: make([]byte, 32<<20)})
		full <- err
	}()
	require.Eventually(t, func() bool { return len(c.writing) == 1 }, wait, tick)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = c.Jobs(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(end)
	require.ErrorIs(t, <-full, ErrLost)
	require.Eventually(t, c.Lost, wait, tick)
	require.ErrorIs(t, c.Forget(1), ErrLost)
	c.Close()
}

func TestMessages(t *testing.T) {
	in := newMessages(strings.NewReader(`{"id":1}`+"\n"+`{"id":2,"error":"`+strings.Repeat("x", 10000)+`"}`+"\n{\n"), 20000)
	var r reply
	require.NoError(t, in.next(&r))
	require.EqualValues(t, 1, r.ID)
	require.NoError(t, in.next(&r))
	require.Len(t, r.Error, 10000)
	require.Error(t, in.next(&r))
	require.ErrorIs(t, in.next(&r), io.EOF)
	require.ErrorIs(t, newMessages(strings.NewReader("{}"), 10).next(&r), io.EOF, "a line that has no end")
}

// FuzzMessages: whatever comes, reading it ends.
func FuzzMessages(f *testing.F) {
	f.Add([]byte(helloLine + `{"id":1,"jobs":[{"job":1}]}` + "\n"))
	f.Add([]byte(`{"id":1,"op":"spawn","spawn":{"args":["x"],"user":{"uid":1}}}` + "\n"))
	f.Add([]byte("\n\n[[[["))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, fresh := range []func() any{func() any { return new(reply) }, func() any { return new(request) }} {
			in := newMessages(bytes.NewReader(raw), 100)
			for n := 0; ; n++ {
				require.LessOrEqual(t, n, len(raw)+1)
				if errors.Is(in.next(fresh()), io.EOF) {
					break
				}
				if n > len(raw) {
					return
				}
			}
		}
	})
}
