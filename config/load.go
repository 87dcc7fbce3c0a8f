package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"
)

// maxFile bounds a configuration file.
const maxFile = 1 << 20

// LoadOptions say where a configuration comes from.
type LoadOptions struct {
	// File is the configuration file; empty means the flag --config, then DEA_CONFIG, then, for a client alone,
	// $XDG_CONFIG_HOME/dea/client.yml (~/.config when that is not set) if it is there. Never one of the working
	// directory: whoever pushes a stranger's app from its directory must not send it where the stranger says.
	File string
	// Flags are parsed flags that NodeFlags or ClientFlags added; nil when there are none.
	Flags *pflag.FlagSet
	// Env looks a variable up; nil means os.Getenv. An empty value is not set.
	Env func(string) string
}

// LoadNode reads and checks a node's configuration. It must come from a file. Its error tells all that is wrong: see
// Problems.
func LoadNode(from LoadOptions) (*Node, error) {
	node := DefaultNode()
	l, err := newLoader(from, reflect.TypeFor[Node]())
	if err != nil {
		return nil, err
	}
	file := l.chosenFile()
	if file == "" {
		return nil, &Error{Words: "no configuration file is given: name one with --config or DEA_CONFIG"}
	}
	if err := l.load(file, reflect.ValueOf(&node).Elem()); err != nil {
		return nil, err
	}
	l.finishNode(&node)
	l.checkNode(&node)
	if err := join(l.problems); err != nil {
		return nil, err
	}
	return &node, nil
}

// LoadClient reads and checks a client's configuration. Without any file it is defaults, environment and flags. Its
// error tells all that is wrong: see Problems.
func LoadClient(from LoadOptions) (*Client, error) {
	client := DefaultClient()
	l, err := newLoader(from, reflect.TypeFor[Client]())
	if err != nil {
		return nil, err
	}
	file := l.chosenFile()
	if file == "" {
		file = l.usersFile()
	}
	if err := l.load(file, reflect.ValueOf(&client).Elem()); err != nil {
		return nil, err
	}
	l.checkClient(&client)
	if err := join(l.problems); err != nil {
		return nil, err
	}
	return &client, nil
}

// loader reads one configuration and collects what is wrong with it.
type loader struct {
	from   LoadOptions
	env    func(string) string
	cwd    string
	schema reflect.Type

	file     string // as it was named
	dir      string // of the file, absolute
	origins  map[string]origin
	problems []*Error
}

// origin is where the value of a key came from.
type origin struct {
	source string
	line   int
}

func newLoader(from LoadOptions, schema reflect.Type) (*loader, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	l := &loader{from: from, env: from.Env, cwd: cwd, schema: schema, origins: make(map[string]origin)}
	if l.env == nil {
		l.env = os.Getenv
	}
	return l, nil
}

// chosenFile is the file that somebody named; empty when nobody did.
func (l *loader) chosenFile() string {
	if l.from.File != "" {
		return l.from.File
	}
	if l.from.Flags != nil {
		if f := l.from.Flags.Lookup(flagConfig); f != nil && f.Value.String() != "" {
			return f.Value.String()
		}
	}
	return l.env(envPrefix + "CONFIG")
}

// usersFile is the client's file in the user's own configuration; empty when there is none.
func (l *loader) usersFile() string {
	base := l.env("XDG_CONFIG_HOME")
	if !filepath.IsAbs(base) { // the XDG specification says to pass over a relative one
		home := l.env("HOME")
		if home == "" {
			return ""
		}
		base = filepath.Join(home, ".config")
	}
	file := filepath.Join(base, "dea", "client.yml")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return file
}

// load fills a configuration from file, environment and flags. An error means that the file could not be read at all;
// what is wrong in it is kept with the problems.
func (l *loader) load(file string, into reflect.Value) error {
	if file != "" {
		l.file, l.dir = file, filepath.Dir(absolute(l.cwd, file))
		text, err := readFile(file)
		if err != nil {
			return &Error{Source: file, Words: words(err), cause: err}
		}
		l.decode(text, into)
	}
	l.overrideByEnv(into)
	l.overrideByFlags(into)
	return nil
}

// decode reads the text of a file.
func (l *loader) decode(text []byte, into reflect.Value) {
	if !utf8.Valid(text) {
		l.refuse("", &yaml.Node{Line: lineOfBadUTF8(text)}, "is not UTF-8")
		return
	}
	docs, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		l.problems = append(l.problems, &Error{Source: l.file, Words: "cannot be read as YAML", cause: err})
		return
	}
	var doc yaml.Node
	switch err := docs.Load(&doc); {
	case errors.Is(err, io.EOF): // an empty file
		return
	case err != nil:
		l.problems = append(l.problems, l.syntax(err))
		return
	}
	var second yaml.Node
	if err := docs.Load(&second); err == nil {
		l.refuse("", &second, "a configuration is one document: take out what follows the line ---")
	} else if !errors.Is(err, io.EOF) {
		l.problems = append(l.problems, l.syntax(err))
	}
	root := &doc
	if doc.Kind == yaml.DocumentNode && len(doc.Content) > 0 {
		root = doc.Content[0]
	}
	l.section(root, into, "")
}

// syntax makes a problem of YAML's own error.
func (l *loader) syntax(err error) *Error {
	e := &Error{Source: l.file, Words: "is no YAML: " + strings.TrimPrefix(err.Error(), "yaml: "), cause: err}
	var one *yaml.LoadError
	if errors.As(err, &one) {
		e.Line, e.Words = one.Mark.Line, "is no YAML: "+one.Message
	}
	return e
}

// lineOfBadUTF8 is the line, from 1, of the first byte that is not UTF-8.
func lineOfBadUTF8(text []byte) int {
	line := 1
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if r == utf8.RuneError && size == 1 {
			break
		}
		if r == '\n' {
			line++
		}
		text = text[size:]
	}
	return line
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("it is over %d bytes", maxFile)
	}
	return text, nil
}

// words says why a file could not be read, without its name, which stands before it.
func words(err error) string {
	var at *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		return "the file may not be read by this user"
	case errors.As(err, &at):
		return "the file cannot be read: " + at.Err.Error()
	}
	return "the file cannot be read: " + err.Error()
}

// seen notes the line of a key, and forget that its value is not given after all.
func (l *loader) seen(path string, line int) { l.origins[path] = origin{source: l.file, line: line} }
func (l *loader) forget(path string)         { delete(l.origins, path) }

// refuse notes a problem at a place of the file.
func (l *loader) refuse(path string, node *yaml.Node, format string, args ...any) {
	l.problems = append(l.problems, &Error{
		Path: path, Source: l.file, Line: node.Line, Words: fmt.Sprintf(format, args...),
	})
}

// wrong notes a problem with the value of a key, wherever that came from; once a key.
func (l *loader) wrong(path string, cause error, format string, args ...any) {
	for _, p := range l.problems {
		if p.Path == path || p.Path != "" && (strings.HasPrefix(path, p.Path+".") || strings.HasPrefix(path, p.Path+"[")) {
			return
		}
	}
	from := l.originOf(path)
	l.problems = append(l.problems, &Error{
		Path: path, Source: from.source, Line: from.line, Words: fmt.Sprintf(format, args...), cause: cause,
	})
}

// originOf is where a key's value came from or, when it came from nowhere, where its section stands.
func (l *loader) originOf(path string) origin {
	for at := path; at != ""; {
		if from, ok := l.origins[at]; ok {
			return from
		}
		cut := strings.LastIndexAny(at, ".[")
		if cut < 0 {
			break
		}
		at = at[:cut]
	}
	return origin{source: l.file}
}

// given says whether a key has a value that is not its default.
func (l *loader) given(path string) bool {
	_, ok := l.origins[path]
	return ok
}
