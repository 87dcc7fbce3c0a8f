package cloudcontroller

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"path"

	"github.com/google/uuid"
)

// Names in an app's directory.
const (
	packageFile  = "package.zip"
	cacheFile    = "buildpack_cache.tgz"
	dropletsDir  = "droplets"
	completedDir = "completed"
)

const (
	bitsField    = "application"
	dropletField = "upload[droplet]"
)

// appDir is where the app of a request is kept. No app is known by a name that cannot be kept.
func appDir(r *http.Request) (string, error) {
	name, ok := safeName(r.PathValue("app"))
	if !ok {
		return "", appNotFound()
	}
	return path.Join(appsDir, name), nil
}

// existingApp is appDir of an app that is there.
func (s *Server) existingApp(r *http.Request) (string, error) {
	dir, err := appDir(r)
	if err != nil {
		return "", err
	}
	if !s.store.exists(dir) {
		return "", appNotFound()
	}
	return dir, nil
}

// putBits takes an app's package, in place of the one before. What it holds is not looked at: whether it is a zip
// is found by the staging, which has the words for the user.
func (s *Server) putBits(w http.ResponseWriter, r *http.Request) error {
	name, ok := safeName(r.PathValue("app"))
	if !ok {
		return badRequest("the app's guid is empty or too long")
	}
	dir := path.Join(appsDir, name)
	up, err := s.receiveForm(w, r, bitsField)
	if err != nil {
		return err
	}
	if err := s.keepPackage(dir, up); err != nil {
		return errors.Join(err, s.store.discard(up.file))
	}
	s.log.Info("package stored", "app", r.PathValue("app"))
	return writeJSON(w, http.StatusCreated, struct{}{})
}

func (s *Server) keepPackage(dir string, up upload) error {
	// The original completes a package from files that it has from earlier uploads. This one has none, and a package
	// that lacks files must not pass for a whole one.
	if text := up.fields["resources"]; text != "" {
		var resources []json.RawMessage
		if json.Unmarshal([]byte(text), &resources) != nil {
			return badRequest("resources is no JSON list")
		}
		if len(resources) > 0 {
			return badRequest("resources must be empty: no files of earlier uploads are known here")
		}
	}
	s.apps.Lock()
	defer s.apps.Unlock()
	for _, sub := range []string{dropletsDir, completedDir} {
		if err := s.store.root.MkdirAll(path.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	if err := s.store.syncDir(appsDir); err != nil {
		return err
	}
	return s.store.move(up.file, path.Join(dir, packageFile))
}

func (s *Server) getPackage(w http.ResponseWriter, r *http.Request) error {
	dir, err := s.existingApp(r)
	if err != nil {
		return err
	}
	return s.serve(w, r, blob{name: path.Join(dir, packageFile), what: "The package", mediaType: "application/zip"})
}

// deleteApp removes an app. Downloads that are under way end well: they have the file open.
func (s *Server) deleteApp(w http.ResponseWriter, r *http.Request) error {
	dir, err := appDir(r)
	if err != nil {
		return err
	}
	// Out of sight at once and as a whole; a crash from here on leaves only trash.
	gone := path.Join(trashDir, uuid.NewString())
	s.apps.Lock()
	err = s.store.root.Rename(dir, gone)
	s.apps.Unlock()
	if errors.Is(err, fs.ErrNotExist) {
		return appNotFound()
	}
	if err != nil {
		return err
	}
	if err := s.store.root.RemoveAll(gone); err != nil {
		s.log.Warn("a deleted app's files stay until the next start", "error", err)
	}
	s.log.Info("app deleted", "app", r.PathValue("app"))
	w.WriteHeader(http.StatusNoContent)
	return nil
}
