package cloudcontroller

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hold takes every slot, so that jobs stay queued until the returned function gives them free.
func hold(s *Server) (release func()) {
	for range jobSlots {
		s.jobs.slots <- struct{}{}
	}
	return func() {
		for range jobSlots {
			<-s.jobs.slots
		}
	}
}

func TestADropletBecomesAJobAndThenADownload(t *testing.T) {
	st := newStand(t, Options{})
	st.push("app", "bits")
	release := hold(st.Server)
	j := st.submit("app", "droplet")
	require.Equal(t, jobQueued, j.Entity.Status)
	require.NotEmpty(t, j.Entity.GUID)
	require.Equal(t, j.Entity.GUID, j.Metadata.GUID)
	require.WithinDuration(t, time.Now(), j.Metadata.CreatedAt, time.Minute)
	require.Equal(t, jobQueued, st.job(j.Entity.GUID).Entity.Status)
	require.Equal(t, http.StatusNotFound, st.get("/staging/droplets/app/"+sha("droplet")+"/download").status)
	release()
	require.Equal(t, jobFinished, st.await(j.Entity.GUID).Entity.Status)

	a := st.get("/staging/droplets/app/" + sha("droplet") + "/download")
	require.Equal(t, "droplet", a.body)
	require.Equal(t, `"`+sha("droplet")+`"`, a.header.Get("ETag"))
	part := st.get("/staging/droplets/app/"+sha("droplet")+"/download", "Range", "bytes=4-5")
	require.Equal(t, "le", part.body)
	require.Empty(t, st.left(uploadsDir))

	// The same content again, and another beside it.
	require.Equal(t, jobFinished, st.await(st.submit("app", "droplet").Entity.GUID).Entity.Status)
	require.Equal(t, jobFinished, st.await(st.submit("app", "droplet2").Entity.GUID).Entity.Status)
	require.Equal(t, "droplet2", st.get("/staging/droplets/app/"+sha("droplet2")+"/download").body)
	require.Len(t, st.left(appsDir+"/app/"+dropletsDir), 2)
}

func TestUnknownDropletsAndJobsAreNotFound(t *testing.T) {
	st := newStand(t, Options{})
	st.push("app", "bits")
	st.push("other", "bits")
	st.await(st.submit("other", "droplet").Entity.GUID)
	for _, sum := range []string{sha("x"), sha("droplet"), "short", "..%2f..%2fpackage", "G" + sha("x")[1:]} {
		require.Equal(t, http.StatusNotFound, st.get("/staging/droplets/app/"+sum+"/download").status, sum)
	}
	require.Equal(t, http.StatusNotFound, st.get("/staging/jobs/nothing").status)
	require.Equal(t, http.StatusNotFound, st.get("/staging/jobs/..%2fcredentials").status)
}

func TestAJobOfADeletedAppFails(t *testing.T) {
	st := newStand(t, Options{})
	st.push("app", "bits")
	release := hold(st.Server)
	j := st.submit("app", "droplet")
	require.Equal(t, http.StatusNoContent, st.do(http.MethodDelete, "/v2/apps/app", "").status)
	release()
	j = st.await(j.Entity.GUID)
	require.Equal(t, jobFailed, j.Entity.Status)
	require.Equal(t, "CF-AppNotFound", j.Entity.ErrorDetails.ErrorCode)
	require.Empty(t, st.left(uploadsDir))
	require.Empty(t, st.left(appsDir))
}

func TestAllIsFoundAgainAfterARestart(t *testing.T) {
	dir := t.TempDir()
	st := newStand(t, Options{Dir: dir})
	st.push("app", "bits")
	done := st.await(st.submit("app", "droplet").Entity.GUID)
	require.Equal(t, http.StatusOK,
		st.upload(http.MethodPost, "/staging/buildpack_cache/app/upload", dropletField, "cache").status)
	require.Equal(t, http.StatusOK,
		st.do(http.MethodPost, "/internal/dea/staging/app/completed", `{"task_id":"t","app_id":"app"}`).status)
	tag := st.get("/staging/apps/app").header.Get("ETag")
	hold(st.Server)
	open := st.submit("app", "late")
	st.stop()
	// What a process that died had begun to receive and to delete.
	require.NoError(t, os.WriteFile(filepath.Join(dir, uploadsDir, "half"), []byte("half"), 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, trashDir, "old", "droplets"), 0o700))

	st = newStand(t, Options{Dir: dir})
	require.Equal(t, jobFinished, st.await(open.Entity.GUID).Entity.Status)
	require.Equal(t, "late", st.get("/staging/droplets/app/"+sha("late")+"/download").body)
	require.Equal(t, done.Entity, st.job(done.Entity.GUID).Entity)
	require.Equal(t, "droplet", st.get("/staging/droplets/app/"+sha("droplet")+"/download").body)
	require.Equal(t, "bits", st.get("/staging/apps/app").body)
	require.Equal(t, http.StatusNotModified, st.get("/staging/apps/app", "If-None-Match", tag).status)
	require.Equal(t, "cache", st.get("/staging/buildpack_cache/app/download").body)
	require.JSONEq(t, `{"task_id":"t","app_id":"app"}`, st.get("/internal/dea/staging/app/t").body)
	require.Empty(t, st.left(uploadsDir))
	require.Empty(t, st.left(trashDir))
}

func TestADeathBetweenAJobsWorkAndItsOutcomeIsMended(t *testing.T) {
	dir := t.TempDir()
	st := newStand(t, Options{Dir: dir})
	st.push("app", "bits")
	hold(st.Server)
	open := st.submit("app", "droplet")
	j, ok := st.jobs.get(open.Entity.GUID)
	require.True(t, ok)
	// All that the job does, but for noting that it did.
	sum, err := st.placeDroplet(t.Context(), j.App, j.Upload)
	require.NoError(t, err)
	require.Equal(t, sha("droplet"), sum)
	st.stop()

	st = newStand(t, Options{Dir: dir})
	require.Equal(t, jobFinished, st.await(open.Entity.GUID).Entity.Status)
	require.Equal(t, "droplet", st.get("/staging/droplets/app/"+sum+"/download").body)
	require.Empty(t, st.left(uploadsDir))
}

func TestOldJobsAreForgottenAndOpenOnesNever(t *testing.T) {
	st := newStand(t, Options{})
	st.push("app", "bits")
	old := st.await(st.submit("app", "one").Entity.GUID)
	release := hold(st.Server)
	open := st.submit("app", "two")
	for _, guid := range []string{old.Entity.GUID, open.Entity.GUID} {
		j, ok := st.jobs.get(guid)
		require.True(t, ok)
		j.CreatedAt = j.CreatedAt.Add(-2 * jobRetention)
		st.jobs.set(j)
	}
	st.jobs.forget()
	require.Equal(t, http.StatusNotFound, st.get("/staging/jobs/"+old.Entity.GUID).status)
	require.Equal(t, []string{open.Entity.GUID + ".json"}, st.left(jobsDir))
	release()
	require.Equal(t, jobFinished, st.await(open.Entity.GUID).Entity.Status)
	require.Equal(t, "one", st.get("/staging/droplets/app/"+sha("one")+"/download").body)
}

func TestABrokenJobFileStopsTheStart(t *testing.T) {
	dir := t.TempDir()
	newStand(t, Options{Dir: dir}).stop()
	require.NoError(t, os.WriteFile(filepath.Join(dir, jobsDir, "x.json"), []byte("{"), 0o600))
	_, err := New(Options{Dir: dir})
	require.ErrorContains(t, err, "jobs/x.json")
}
