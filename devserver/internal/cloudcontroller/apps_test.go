package cloudcontroller

import (
	"bufio"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAPackageComesBackWholeInRangesOrNotAtAll(t *testing.T) {
	st := newStand(t, Options{})
	require.Equal(t, http.StatusNotFound, st.get("/staging/apps/app").status)
	st.push("app", "0123456789")

	whole := st.get("/staging/apps/app")
	require.Equal(t, http.StatusOK, whole.status)
	require.Equal(t, "0123456789", whole.body)
	require.Equal(t, "application/zip", whole.header.Get("Content-Type"))
	tag := whole.header.Get("ETag")
	require.NotEmpty(t, tag)

	part := st.get("/staging/apps/app", "Range", "bytes=4-", "If-Range", tag)
	require.Equal(t, http.StatusPartialContent, part.status)
	require.Equal(t, "456789", part.body)
	require.Equal(t, http.StatusNotModified, st.get("/staging/apps/app", "If-None-Match", tag).status)
	require.Equal(t, http.StatusRequestedRangeNotSatisfiable,
		st.get("/staging/apps/app", "Range", "bytes=10-").status)
	head := st.do(http.MethodHead, "/staging/apps/app", "")
	require.Equal(t, "10", head.header.Get("Content-Length"))
	require.Empty(t, head.body)

	// A range of what was replaced meanwhile would be a mixture: the new one comes whole.
	st.push("app", "abcdefghij")
	again := st.get("/staging/apps/app", "Range", "bytes=4-", "If-Range", tag)
	require.Equal(t, http.StatusOK, again.status)
	require.Equal(t, "abcdefghij", again.body)
}

func TestBitsThatAreNoFormOrNoPackageAreRefused(t *testing.T) {
	st := newStand(t, Options{})
	put := func(body, kind string) answered {
		return st.do(http.MethodPut, "/v2/apps/app/bits", body, "Content-Type", kind)
	}
	noFile, kind := form(t, map[string]string{"resources": "[]"}, "", "")
	a := put(noFile, kind)
	require.Equal(t, http.StatusBadRequest, a.status)
	require.Contains(t, a.body, `field \"application\"`)

	require.Equal(t, http.StatusBadRequest, put("PK", "application/zip").status)
	require.Equal(t, http.StatusBadRequest, put("", "").status)

	known, kind := form(t, map[string]string{"resources": `[{"sha1":"x","fn":"a"}]`}, bitsField, "zip")
	require.Equal(t, http.StatusBadRequest, put(known, kind).status)
	long, kind := form(t, map[string]string{"resources": strings.Repeat(" ", maxFieldBytes+1)}, bitsField, "zip")
	require.Equal(t, http.StatusBadRequest, put(long, kind).status)
	half := strings.Repeat(" ", maxFieldBytes/2)
	many, kind := form(t, map[string]string{"one": half, "another": half}, bitsField, "zip")
	require.Equal(t, http.StatusBadRequest, put(many, kind).status)

	one, kind := form(t, map[string]string{}, bitsField, "zip")
	cut := put(one[:len(one)-20], kind)
	require.Equal(t, http.StatusBadRequest, cut.status, cut.body)

	require.Equal(t, http.StatusNotFound, st.get("/staging/apps/app").status, "no app came of any of these")
	require.Empty(t, st.left(uploadsDir))

	empty, kind := form(t, map[string]string{"resources": "[]"}, bitsField, "zip")
	require.Equal(t, http.StatusCreated, put(empty, kind).status)
}

func TestAnUploadThatIsTooLargeLeavesNothing(t *testing.T) {
	st := newStand(t, Options{MaxUploadBytes: 1000})
	st.push("app", strings.Repeat("x", 1000))
	for _, size := range []int{1001, 5 << 20} {
		a := st.upload(http.MethodPut, "/v2/apps/app/bits", bitsField, strings.Repeat("y", size))
		require.Equal(t, http.StatusRequestEntityTooLarge, a.status, a.body)
	}
	require.Equal(t, strings.Repeat("x", 1000), st.get("/staging/apps/app").body)
	require.Empty(t, st.left(uploadsDir))
}

// endless gives a character n times.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), e.n)
	e.n -= n
	return int(n), nil
}

func TestAnUploadIsNeverWholeInMemory(t *testing.T) {
	const size = 256 << 20
	st := newStand(t, Options{})
	st.push("app", "bits")
	r, w := io.Pipe()
	body := multipart.NewWriter(w)
	go func() {
		part, err := body.CreateFormFile(dropletField, "droplet.tgz")
		if err == nil {
			_, err = io.Copy(part, &endless{size})
		}
		if err == nil {
			err = body.Close()
		}
		w.CloseWithError(err)
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	a := st.send(st.request(http.MethodPost, "/staging/droplets/app/upload", r,
		"Content-Type", body.FormDataContentType()))
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Empty(t, a.body)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(size/4), "bytes allocated in all")
	dir := filepath.Join(st.store.root.Name(), appsDir, "app", dropletsDir)
	stored := st.left(appsDir + "/app/" + dropletsDir)
	require.Len(t, stored, 1)
	info, err := os.Stat(filepath.Join(dir, stored[0]))
	require.NoError(t, err)
	require.Equal(t, int64(size), info.Size())
}

func TestAClientThatGoesLeavesNothing(t *testing.T) {
	st := newStand(t, Options{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(st.http.URL, "http://"))
	require.NoError(t, err)
	r := st.request(http.MethodPut, "/v2/apps/app/bits", nil)
	_, err = fmt.Fprintf(conn, "PUT /v2/apps/app/bits HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n"+
		"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n"+
		"--b\r\nContent-Disposition: form-data; name=\"application\"; filename=\"a\"\r\n\r\n%s",
		r.Header.Get("Authorization"), strings.Repeat("z", 50000))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(st.left(uploadsDir)) == 1 }, 5*time.Second, time.Millisecond)
	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool { return len(st.left(uploadsDir)) == 0 }, 5*time.Second, time.Millisecond)
	require.Equal(t, http.StatusNotFound, st.get("/staging/apps/app").status)
}

func TestOddAppNamesCannotReachOtherPlaces(t *testing.T) {
	dir := t.TempDir()
	st := newStand(t, Options{Dir: filepath.Join(dir, "cc")})
	for _, app := range []string{"%2e%2e%2fout", "a%2fb", "%00", "%2e%2e", "%25", "ä%20b"} {
		st.push(app, app)
		require.Equal(t, app, st.get("/staging/apps/"+app).body)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Len(t, st.left(appsDir), 6)
	a := st.upload(http.MethodPut, "/v2/apps/"+strings.Repeat("x", 300)+"/bits", bitsField, "zip")
	require.Equal(t, http.StatusBadRequest, a.status)
}

func TestADeletedAppIsGoneAndStaysGone(t *testing.T) {
	st := newStand(t, Options{})
	require.Equal(t, http.StatusNotFound, st.do(http.MethodDelete, "/v2/apps/app", "").status)
	st.push("app", "bits")
	st.await(st.submit("app", "droplet").Entity.GUID)
	st.push("apples", "others")

	require.Equal(t, http.StatusNoContent, st.do(http.MethodDelete, "/v2/apps/app", "").status)
	for _, path := range []string{
		"/staging/apps/app", "/staging/droplets/app/" + sha("droplet") + "/download",
		"/staging/buildpack_cache/app/download", "/internal/dea/staging/app/task",
	} {
		require.Equal(t, http.StatusNotFound, st.get(path).status, path)
	}
	for _, path := range []string{"/staging/droplets/app/upload?async=true", "/staging/buildpack_cache/app/upload"} {
		require.Equal(t, http.StatusNotFound, st.upload(http.MethodPost, path, dropletField, "late").status, path)
	}
	require.Equal(t, http.StatusNotFound,
		st.do(http.MethodPost, "/internal/dea/staging/app/completed", `{"task_id":"t"}`).status)
	require.Equal(t, "others", st.get("/staging/apps/apples").body)
	require.Equal(t, []string{"apples"}, st.left(appsDir))
	require.Empty(t, st.left(trashDir))
}

func TestADownloadSurvivesItsAppsEnd(t *testing.T) {
	st := newStand(t, Options{})
	content := strings.Repeat("0123456789abcdef", 1<<20)
	st.push("app", content)
	w, err := st.http.Client().Do(st.request(http.MethodGet, "/staging/apps/app", nil))
	require.NoError(t, err)
	defer func() { _ = w.Body.Close() }()
	body := bufio.NewReader(w.Body)
	_, err = body.Peek(1)
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, st.do(http.MethodDelete, "/v2/apps/app", "").status)
	got, err := io.ReadAll(body)
	require.NoError(t, err)
	require.Len(t, got, len(content))
}

func TestReadersNeverSeeHalfAPackage(t *testing.T) {
	st := newStand(t, Options{})
	version := func(n int) string { return strings.Repeat(string(rune('a'+n)), 200_000) }
	st.push("app", version(0))
	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for range 5 {
				st.push("app", version(n))
			}
		})
	}
	for range 40 {
		body := st.get("/staging/apps/app").body
		require.Len(t, body, 200_000)
		require.Equal(t, strings.Repeat(body[:1], 200_000), body)
	}
	writers.Wait()
}
