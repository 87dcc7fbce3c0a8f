package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Error is one thing that is wrong with a configuration.
type Error struct {
	// Path is the key's, such as resources.memory_mb or stacks[0].name; empty when it is about the whole file.
	Path string
	// Source is where the value came from: a file's name, "environment NAME" or "flag --name". Empty for a value that
	// came from nowhere.
	Source string
	// Line is the line in the file, from 1; 0 when there is none to name.
	Line int
	// Words say what is wrong and, where that is clear, what to do.
	Words string

	cause error
}

// Error is "source:line: path: words", without the parts that are not known.
func (e *Error) Error() string {
	text := e.Words
	if e.Path != "" {
		text = e.Path + ": " + text
	}
	switch {
	case e.Source != "" && e.Line > 0:
		return fmt.Sprintf("%s:%d: %s", e.Source, e.Line, text)
	case e.Source != "":
		return e.Source + ": " + text
	}
	return text
}

// Unwrap gives the cause, such as fs.ErrNotExist; nil when there is none.
func (e *Error) Unwrap() error { return e.cause }

// Problems lists what is wrong according to an error of LoadNode or LoadClient; nil for any other error.
func Problems(err error) []*Error {
	var one *Error
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*Error
		for _, e := range joined.Unwrap() {
			all = append(all, Problems(e)...)
		}
		return all
	}
	if errors.As(err, &one) {
		return []*Error{one}
	}
	return nil
}

// join puts the file's problems first, by line, and the others after them.
func join(problems []*Error) error {
	slices.SortStableFunc(problems, func(a, b *Error) int {
		if (a.Line == 0) != (b.Line == 0) {
			return cmp.Compare(b.Line, a.Line)
		}
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Path, b.Path))
	})
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}
