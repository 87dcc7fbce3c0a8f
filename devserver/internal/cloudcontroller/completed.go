package cloudcontroller

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path"
)

// maxCompletedBytes bounds the body of a callback.
const maxCompletedBytes = 1 << 20

// completion is what the server needs to know of a callback; the rest is kept as it came.
type completion struct {
	TaskID string `json:"task_id"`
	AppID  string `json:"app_id"`
	Error  string `json:"error"`
}

// postCompleted keeps the outcome of a staging. An agent that is not sure it was heard sends it again: the last one
// stays.
func (s *Server) postCompleted(w http.ResponseWriter, r *http.Request) error {
	dir, err := s.existingApp(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCompletedBytes))
	if err != nil {
		return badRequest("the body is too large or ends too early")
	}
	var c completion
	var compact bytes.Buffer
	if json.Unmarshal(text, &c) != nil || json.Compact(&compact, text) != nil {
		return badRequest("the body is no JSON object of a completed staging")
	}
	task, ok := safeName(c.TaskID)
	if !ok {
		return badRequest("task_id is missing or too long")
	}
	if c.AppID != "" && c.AppID != r.PathValue("app") {
		return badRequest("app_id is not the app of the path")
	}
	err = s.store.putJSON(path.Join(dir, completedDir, task+".json"), json.RawMessage(compact.Bytes()))
	if errors.Is(err, fs.ErrNotExist) {
		return appNotFound()
	}
	if err != nil {
		return err
	}
	s.log.Info("staging completed", "app", r.PathValue("app"), "task", c.TaskID, "failed", c.Error != "")
	return writeJSON(w, http.StatusOK, struct{}{})
}

// getCompleted shows a callback that was kept, byte for byte but for white space.
func (s *Server) getCompleted(w http.ResponseWriter, r *http.Request) error {
	dir, err := s.existingApp(r)
	if err != nil {
		return err
	}
	task, ok := safeName(r.PathValue("task"))
	if !ok {
		return notFound("The task")
	}
	return s.serve(w, r, blob{
		name: path.Join(dir, completedDir, task+".json"), what: "The task's outcome", mediaType: "application/json",
	})
}
