package cloudcontroller

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
)

const (
	// maxFieldBytes bounds a form's fields that are no file, which are kept in memory, together.
	maxFieldBytes = 1 << 20
	// maxFormBytes is what a form may have beside its file: boundaries, headers and other fields.
	maxFormBytes = 2 << 20
)

// upload is a form that was received whole.
type upload struct {
	// file is the place in the store of the content of the form's file.
	file string
	// fields are the form's other fields, by name.
	fields map[string]string
	// fieldBytes is how long the fields and their names are together.
	fieldBytes int
}

// receiveForm streams a multipart form to disk: the file goes from the connection to uploads and is never whole in
// memory. A form that is cut short, too large or without the file leaves nothing.
func (s *Server) receiveForm(w http.ResponseWriter, r *http.Request, file string) (_ upload, err error) {
	if s.jobs.closed() {
		return upload{}, closing()
	}
	r.Body = http.MaxBytesReader(w, r.Body, s.maxUpload+maxFormBytes)
	form, err := r.MultipartReader()
	if err != nil {
		return upload{}, badUpload("it is no multipart form")
	}
	up := upload{fields: map[string]string{}}
	defer func() {
		if err != nil && up.file != "" {
			err = errors.Join(err, s.store.discard(up.file))
		}
	}()
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return up, s.formError(err)
		}
		if err := s.receivePart(&up, part, file); err != nil {
			return up, err
		}
	}
	if up.file == "" {
		return up, badUpload(fmt.Sprintf("the form has no field %q", file))
	}
	return up, nil
}

func (s *Server) receivePart(up *upload, part *multipart.Part, file string) error {
	if part.FormName() != file {
		text, err := io.ReadAll(io.LimitReader(part, maxFieldBytes+1))
		if err != nil {
			return s.formError(err)
		}
		up.fieldBytes += len(part.FormName()) + len(text)
		if up.fieldBytes > maxFieldBytes {
			return badUpload("its fields are too long")
		}
		up.fields[part.FormName()] = string(text)
		return nil
	}
	if up.file != "" {
		return badUpload(fmt.Sprintf("the form has two fields %q", file))
	}
	body := &limited{r: part, left: s.maxUpload}
	name, err := s.store.receive(body)
	switch {
	case err == nil:
		up.file = name
		return nil
	case body.err != nil:
		return s.formError(body.err)
	default:
		return fmt.Errorf("keep an upload: %w", err)
	}
}

// errOverLimit says that a file is larger than the server takes.
var errOverLimit = errors.New("over the upload limit")

// formError tells what the client did from what the connection did.
func (s *Server) formError(err error) error {
	var over *http.MaxBytesError
	if errors.As(err, &over) || errors.Is(err, errOverLimit) {
		return tooLarge(s.maxUpload)
	}
	return badUpload("it ends too early or is no multipart form")
}

// limited reads at most left bytes, and remembers a failed read, which io.Copy mixes with failed writes.
type limited struct {
	r    io.Reader
	left int64
	err  error
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.left -= int64(n)
	if l.left < 0 {
		err = errOverLimit
	}
	if err != nil && !errors.Is(err, io.EOF) {
		l.err = err
	}
	return n, err
}
