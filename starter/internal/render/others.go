package render

import (
	"fmt"
	"io"
)

// Deleted says that an app is gone, or will be.
type Deleted struct {
	App string `json:"app"`
	// Gone is set when nothing of it is left; else it is told to go.
	Gone bool `json:"gone"`
}

// Deleted writes the end of an app.
func (r Renderer) Deleted(d Deleted) error {
	return r.answer(d, func(out io.Writer) {
		if d.Gone {
			_, _ = fmt.Fprintf(out, "%s is deleted\n", d.App)
			return
		}
		_, _ = fmt.Fprintf(out, "%s is told to go\n", d.App)
	})
}

// Setup says what a namespace has.
type Setup struct {
	Namespace        string   `json:"namespace"`
	SearchAttributes []string `json:"search_attributes"`
}

// Setup writes what was set up.
func (r Renderer) Setup(s Setup) error {
	return r.answer(s, func(out io.Writer) {
		_, _ = fmt.Fprintf(out, "Namespace %s has the %d search attributes of the platform\n", s.Namespace, len(s.SearchAttributes))
	})
}

// Version says what program this is.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
}

// Version writes a program's version.
func (r Renderer) Version(v Version) error {
	return r.answer(v, func(out io.Writer) {
		_, _ = fmt.Fprintf(out, "starter %s", v.Version)
		if v.Commit != "" {
			_, _ = fmt.Fprintf(out, " (%s)", v.Commit)
		}
		_, _ = fmt.Fprintf(out, ", %s\n", v.Go)
	})
}

// Failure is what a program reads of a command that failed.
type Failure struct {
	Error FailureDetail `json:"error"`
	// Result is how far the command came, where it came to something.
	Result any `json:"result,omitempty"`
}

// FailureDetail says why a command failed.
type FailureDetail struct {
	// Type is the platform's error type, where there is one.
	Type string `json:"type,omitempty"`
	// Message says what is wrong, for people.
	Message string `json:"message"`
	// Next says what to do about it, where that is known.
	Next string `json:"next,omitempty"`
	// Log holds the last lines of an app that crashed.
	Log []string `json:"log,omitempty"`
	// ExitCode is the program's.
	ExitCode int `json:"exit_code"`
}
