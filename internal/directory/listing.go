package directory

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/api"
)

// maxEntries bounds a listing: an app can make any number of files.
const maxEntries = 10_000

// pagePolicy lets a listing's page be text and links, and nothing else.
const pagePolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// listing is a directory's, and what is needed to link to its entries.
type listing struct {
	api.FileListing
	// address makes a URL for an entry's path, relative to the page's own.
	address func(path string) string
}

// serveListing answers with a directory's entries, in the format that the request asks for.
func serveListing(w http.ResponseWriter, r *http.Request, dir *os.File, address func(path string) string) error {
	how, err := formatOf(r)
	if err != nil {
		return err
	}
	found, err := list(dir, maxEntries)
	if err != nil {
		return err
	}
	found.Path = r.URL.Query().Get(paramPath)
	write, kind := writeText, textType
	switch how {
	case asJSON:
		write, kind = writeJSON, "application/json"
	case asHTML:
		write, kind = writeHTML, "text/html; charset=utf-8"
		w.Header().Set("Content-Security-Policy", pagePolicy)
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Vary", "Accept")
	// It fails only of a client that is gone.
	_ = write(w, listing{FileListing: found, address: address})
	return nil
}

// list looks at the entries of a directory, sorted by name and at most limit of them: of more, any.
func list(dir *os.File, limit int) (api.FileListing, error) {
	names, err := dir.Readdirnames(limit + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return api.FileListing{}, fmt.Errorf("list a directory: %w", err)
	}
	found := api.FileListing{Truncated: len(names) > limit}
	names = names[:min(len(names), limit)]
	slices.Sort(names)
	found.Entries = make([]api.FileEntry, 0, len(names))
	for _, name := range names {
		if entry, ok := describe(dir, name); ok {
			found.Entries = append(found.Entries, entry)
		}
	}
	return found, nil
}

// describe looks at an entry without following it; not ok when it has gone meanwhile.
func describe(dir *os.File, name string) (entry api.FileEntry, ok bool) {
	var st unix.Stat_t
	if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return entry, false
	}
	entry = api.FileEntry{
		Name: name, Type: api.FileTypeOther, Mode: fmt.Sprintf("%04o", st.Mode&0o7777),
		Modified: time.Unix(st.Mtim.Unix()).UTC(),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		entry.Type = api.FileTypeDirectory
	case unix.S_IFREG:
		entry.Type, entry.Size = api.FileTypeFile, st.Size
	case unix.S_IFLNK:
		entry.Type = api.FileTypeLink
	}
	return entry, true
}

// writeText gives a line for each entry: the name, with a slash after a directory's, and a file's size in bytes; "-"
// stands for what has no size to speak of.
func writeText(w io.Writer, l listing) error {
	var text strings.Builder
	for _, entry := range l.Entries {
		fmt.Fprintf(&text, "%-40s %12s\n", shown(entry), size(entry))
	}
	if l.Truncated {
		fmt.Fprintln(&text, truncated)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// truncated ends a listing for people that does not show all.
var truncated = fmt.Sprintf("... and more: only %d are shown", maxEntries)

func writeJSON(w io.Writer, l listing) error { return json.NewEncoder(w).Encode(l.FileListing) }

// page is a listing for a browser. What an app has named lands in it escaped, and as text.
var page = template.Must(template.New("listing").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>{{.Title}}</title></head>
<body>
<h1>{{.Title}}</h1>
<table>
<tr><th align="left">Name</th><th align="right">Size</th><th align="left">Mode</th><th align="left">Modified</th></tr>
{{range .Entries}}<tr><td>{{if .Link}}<a href="{{.Link}}">{{.Shown}}</a>{{else}}{{.Shown}}{{end}}</td>` +
	`<td align="right">{{.Bytes}}</td><td>{{.Mode}}</td><td>{{.Modified.Format "2006-01-02 15:04:05Z"}}</td></tr>
{{end}}</table>
{{with .Truncated}}<p>{{.}}</p>
{{end}}</body>
</html>
`))

// row is an entry on a page.
type row struct {
	api.FileEntry
	// Shown and Bytes are for people; Link is empty where there is nothing to open.
	Shown, Bytes, Link string
}

func writeHTML(w io.Writer, l listing) error {
	title := "/" + printable(strings.Trim(l.Path, "/"))
	data := struct {
		Title     string
		Entries   []row
		Truncated string
	}{Title: title, Entries: make([]row, 0, len(l.Entries))}
	if l.Truncated {
		data.Truncated = truncated
	}
	for _, entry := range l.Entries {
		one := row{FileEntry: entry, Shown: shown(entry), Bytes: size(entry)}
		// A link of the app's may lead out of the directory that the page's signature is for.
		if entry.Type == api.FileTypeFile || entry.Type == api.FileTypeDirectory {
			// Not cleaned: what ".." behind a link means is the directory's to say.
			one.Link = l.address(strings.TrimRight(l.Path, "/") + "/" + entry.Name)
		}
		data.Entries = append(data.Entries, one)
	}
	return page.Execute(w, data)
}

// shown is an entry's name for people.
func shown(entry api.FileEntry) string {
	if entry.Type == api.FileTypeDirectory {
		return printable(entry.Name) + "/"
	}
	return printable(entry.Name)
}

func size(entry api.FileEntry) string {
	if entry.Type != api.FileTypeFile {
		return "-"
	}
	return strconv.FormatInt(entry.Size, 10)
}

// printable quotes a name that would break the listing or a terminal.
func printable(name string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if utf8.ValidString(name) && !strings.ContainsFunc(name, odd) {
		return name
	}
	return strconv.Quote(name)
}
