package cloudcontroller

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheBuildpackCacheIsKeptForTheNextStaging(t *testing.T) {
	st := newStand(t, Options{})
	require.Equal(t, http.StatusNotFound, st.get("/staging/buildpack_cache/app/download").status)
	st.push("app", "bits")
	require.Equal(t, http.StatusNotFound, st.get("/staging/buildpack_cache/app/download").status)
	for _, content := range []string{"one", "two"} {
		a := st.upload(http.MethodPost, "/staging/buildpack_cache/app/upload", dropletField, content)
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.Empty(t, a.body)
		require.Equal(t, content, st.get("/staging/buildpack_cache/app/download").body)
	}
	a := st.upload(http.MethodPost, "/staging/buildpack_cache/app/upload", "upload", "wrong field")
	require.Equal(t, http.StatusBadRequest, a.status)
	require.Equal(t, "two", st.get("/staging/buildpack_cache/app/download").body)
}

func TestACallbackIsKeptAsItCame(t *testing.T) {
	const path = "/internal/dea/staging/app/"
	const body = `{"task_id":"task/1","app_id":"app","droplet_sha1":"abc","procfile":{"web":"./a <b>"},"new_field":[1]}`
	st := newStand(t, Options{})
	require.Equal(t, http.StatusNotFound, st.do(http.MethodPost, path+"completed", body).status)
	st.push("app", "bits")
	require.Equal(t, http.StatusNotFound, st.get(path+"task%2f1").status)
	for range 2 {
		require.Equal(t, http.StatusOK, st.do(http.MethodPost, path+"completed", body).status)
		require.JSONEq(t, body, st.get(path+"task%2f1").body)
	}
	require.Equal(t, http.StatusOK,
		st.do(http.MethodPost, path+"completed", strings.Replace(body, "abc", "def", 1)).status)
	require.Contains(t, st.get(path+"task%2f1").body, "def")
	require.Equal(t, http.StatusNotFound, st.get(path+"task").status)
}

func TestACallbackThatIsNoneIsRefused(t *testing.T) {
	st := newStand(t, Options{})
	st.push("app", "bits")
	for name, body := range map[string]string{
		"empty":        "",
		"no object":    `["task_id"]`,
		"cut":          `{"task_id":"t"`,
		"no task":      `{"app_id":"app"}`,
		"wrong type":   `{"task_id":7}`,
		"another app":  `{"task_id":"t","app_id":"other"}`,
		"two values":   `{"task_id":"t"}{}`,
		"endless task": `{"task_id":"` + strings.Repeat("x", 300) + `"}`,
		"too large":    `{"task_id":"t","x":"` + strings.Repeat("x", maxCompletedBytes) + `"}`,
	} {
		a := st.do(http.MethodPost, "/internal/dea/staging/app/completed", body)
		require.Equal(t, http.StatusBadRequest, a.status, name)
	}
	require.Empty(t, st.left(appsDir+"/app/"+completedDir))
}
