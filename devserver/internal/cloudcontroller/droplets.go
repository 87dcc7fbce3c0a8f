package cloudcontroller

import (
	"context"
	"crypto/sha1" //nolint:gosec // A droplet's name on the wire is its SHA-1.
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strconv"
)

const gzipType = "application/gzip"

// postDroplet takes a droplet. With async=true it answers at once with the job that will put it into the store,
// else when it is there.
func (s *Server) postDroplet(w http.ResponseWriter, r *http.Request) error {
	dir, err := s.existingApp(r)
	if err != nil {
		return err
	}
	up, err := s.receiveForm(w, r, dropletField)
	if err != nil {
		return err
	}
	if async, _ := strconv.ParseBool(r.URL.Query().Get("async")); async {
		job, err := s.jobs.submit(dir, up.file)
		if err != nil {
			return errors.Join(err, s.store.discard(up.file))
		}
		return writeJSON(w, http.StatusOK, s.jobBody(r, job))
	}
	_, err = s.placeDroplet(r.Context(), dir, up.file)
	if err := errors.Join(err, s.store.discard(up.file)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// placeDroplet puts a received file into the store under its SHA-1, which it returns. The upload stays: the caller
// removes it once it has noted the outcome, so that after a crash in between this is done again, to the same end.
func (s *Server) placeDroplet(ctx context.Context, app, file string) (string, error) {
	sum, err := s.digest(ctx, file)
	if err != nil {
		return "", err
	}
	dir := path.Join(app, dropletsDir)
	// Without the app's directory there is nothing to link into, so a deleted app stays deleted.
	err = s.store.root.Link(file, path.Join(dir, sum+".tgz"))
	switch {
	case errors.Is(err, fs.ErrExist):
		// The same content, from an earlier upload or from this one before a crash.
		return sum, nil
	case errors.Is(err, fs.ErrNotExist):
		return "", appNotFound()
	case err != nil:
		return "", err
	}
	return sum, s.store.syncDir(dir)
}

func (s *Server) digest(ctx context.Context, file string) (string, error) {
	f, err := s.store.root.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha1.New() //nolint:gosec // See the import.
	if _, err := io.Copy(h, untilDone{ctx, f}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// untilDone reads until a context ends.
type untilDone struct {
	//nolint:containedctx // io.Reader has no room for it.
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

func (s *Server) getDroplet(w http.ResponseWriter, r *http.Request) error {
	dir, err := s.existingApp(r)
	if err != nil {
		return err
	}
	sum := r.PathValue("sha1")
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != sha1.Size || sum != hex.EncodeToString(raw) {
		return notFound("The droplet")
	}
	return s.serve(w, r, blob{
		name: path.Join(dir, dropletsDir, sum+".tgz"), what: "The droplet", mediaType: gzipType, tag: sum,
	})
}

// postCache takes a buildpack cache, in place of the one before.
func (s *Server) postCache(w http.ResponseWriter, r *http.Request) error {
	dir, err := s.existingApp(r)
	if err != nil {
		return err
	}
	up, err := s.receiveForm(w, r, dropletField)
	if err != nil {
		return err
	}
	err = s.store.move(up.file, path.Join(dir, cacheFile))
	if err == nil {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = appNotFound()
	}
	return errors.Join(err, s.store.discard(up.file))
}

func (s *Server) getCache(w http.ResponseWriter, r *http.Request) error {
	dir, err := s.existingApp(r)
	if err != nil {
		return err
	}
	return s.serve(w, r, blob{name: path.Join(dir, cacheFile), what: "The buildpack cache", mediaType: gzipType})
}
