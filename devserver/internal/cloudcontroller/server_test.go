package cloudcontroller

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNobodyIsLetInWithoutCredentials(t *testing.T) {
	st := newStand(t, Options{})
	st.push("app", "bits")
	right := st.Credentials()
	for name, auth := range map[string]func(*http.Request){
		"none":           func(r *http.Request) { r.Header.Del("Authorization") },
		"wrong password": func(r *http.Request) { r.SetBasicAuth(right.User, right.Password+"x") },
		"wrong user":     func(r *http.Request) { r.SetBasicAuth("admin", right.Password) },
		"empty":          func(r *http.Request) { r.SetBasicAuth("", "") },
		"bearer":         func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+right.Password) },
	} {
		for _, path := range []string{"/staging/apps/app", "/v2/buildpacks", "/nothing"} {
			r := st.request(http.MethodGet, path, nil)
			auth(r)
			a := st.send(r)
			require.Equal(t, http.StatusUnauthorized, a.status, "%s %s", name, path)
			require.Contains(t, a.header.Get("WWW-Authenticate"), "Basic")
			require.Equal(t, "CF-NotAuthenticated", decode[errorBody](t, a.body).ErrorCode)
		}
	}
	require.Equal(t, "bits", st.get("/staging/apps/app").body)
}

func TestHealthIsOpen(t *testing.T) {
	st := newStand(t, Options{})
	r := st.request(http.MethodGet, "/healthz", nil)
	r.Header.Del("Authorization")
	require.Equal(t, http.StatusOK, st.send(r).status)
}

func TestUnknownPathsAnswerInTheWiresForm(t *testing.T) {
	st := newStand(t, Options{})
	a := st.get("/v2/organizations")
	require.Equal(t, http.StatusNotFound, a.status)
	require.Equal(t, "CF-NotFound", decode[errorBody](t, a.body).ErrorCode)
}

func TestSecretsAreNeitherLoggedNorPrinted(t *testing.T) {
	st := newStand(t, Options{})
	password := st.Credentials().Password
	require.GreaterOrEqual(t, len(password), 20)
	st.push("app", "bits")
	st.await(st.submit("app", "droplet").Entity.GUID)
	st.get("/staging/apps/app?signature=topsecret")
	require.Contains(t, st.log.String(), "/staging/apps/app")
	require.NotContains(t, st.log.String(), password)
	require.NotContains(t, st.log.String(), "topsecret")
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", st.Credentials(), st.Credentials(), st.Credentials(),
		st.Credentials()), password)
}

func TestCredentialsAreMadeOnceForTheOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	first := newStand(t, Options{Dir: dir})
	was := first.Credentials()
	first.stop()
	info, err := os.Stat(filepath.Join(dir, credentialsFile))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	second := newStand(t, Options{Dir: dir})
	require.Equal(t, was, second.Credentials())
	second.stop()

	require.NoError(t, os.Chmod(filepath.Join(dir, credentialsFile), 0o644))
	_, err = New(Options{Dir: dir})
	require.ErrorContains(t, err, "chmod 600")

	require.NoError(t, os.WriteFile(filepath.Join(dir, credentialsFile), []byte(`{"password":"hunter2`), 0o600))
	require.NoError(t, os.Chmod(filepath.Join(dir, credentialsFile), 0o600))
	_, err = New(Options{Dir: dir})
	require.ErrorContains(t, err, "holds no credentials")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestAStoreHasOneServer(t *testing.T) {
	st := newStand(t, Options{})
	_, err := New(Options{Dir: st.store.root.Name()})
	require.ErrorContains(t, err, "in use by another process")
	_, err = New(Options{})
	require.ErrorContains(t, err, "Dir")
}

func TestURLsThatAreHandedOutWorkAsTheyAre(t *testing.T) {
	var st *stand
	st = newStand(t, Options{BaseURL: func() string { return st.http.URL + "/" }})
	st.push("app", "bits")
	url := st.submit("app", "droplet").Metadata.URL
	w, err := st.http.Client().Get(url)
	require.NoError(t, err)
	defer func() { _ = w.Body.Close() }()
	require.Equal(t, http.StatusOK, w.StatusCode)
	base := strings.Replace(st.http.URL, "http://", "http://"+user+":"+st.Credentials().Password+"@", 1)
	require.True(t, strings.HasPrefix(url, base+"/staging/jobs/"), url)

	// Without a base URL the request's own host is meant.
	other := newStand(t, Options{})
	other.push("app", "bits")
	require.Contains(t, other.submit("app", "droplet").Metadata.URL, "@"+strings.TrimPrefix(other.http.URL, "http://"))
}

func TestAClosedServerTakesNothingMore(t *testing.T) {
	st := newStand(t, Options{})
	st.push("app", "bits")
	require.NoError(t, st.Close())
	require.NoError(t, st.Close(), "closing again does nothing")
	require.Equal(t, http.StatusServiceUnavailable, st.get("/healthz").status)
	require.Equal(t, http.StatusServiceUnavailable,
		st.upload(http.MethodPut, "/v2/apps/app/bits", bitsField, "more").status)
}

func TestSafeNamesStayInPlaceAndApart(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{
		"a", "A", ".", "..", "...", "a.b", ".hidden", "%2e", "a/b", "a%2fb", `a\b`, "../up", "/abs", "sp ace", "\x00", "ä", "\xff",
	} {
		name, ok := safeName(id)
		require.True(t, ok, "%q", id)
		require.True(t, filepath.IsLocal(name), "%q", name)
		require.Equal(t, filepath.Base(name), name)
		require.NotEqual(t, byte('.'), name[0])
		require.Empty(t, seen[name], "%q and %q are both %q", id, seen[name], name)
		seen[name] = id
	}
	for _, id := range []string{"", strings.Repeat("x", maxNameBytes+1), strings.Repeat("/", maxNameBytes)} {
		_, ok := safeName(id)
		require.False(t, ok, "%q", id)
	}
}
