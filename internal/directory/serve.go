package directory

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	textType = "text/plain; charset=utf-8"
	// maxEntries bounds a listing: an app can make any number of files.
	maxEntries = 10_000
	// sniffBytes is what the kind of a file's content is guessed from.
	sniffBytes = 512
)

// serveFile answers with a file's content: whole or in ranges. It is labelled as text or as bytes and never as what
// a browser would run.
func serveFile(w http.ResponseWriter, r *http.Request, f *os.File, info fs.FileInfo) error {
	head := make([]byte, sniffBytes)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the beginning: %w", err)
	}
	kind := "application/octet-stream"
	if strings.HasPrefix(http.DetectContentType(head[:n]), "text/") {
		kind = textType
	}
	w.Header().Set("Content-Type", kind)
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}

// serveListing answers with what list says.
func serveListing(w http.ResponseWriter, dir *os.File) error {
	text, err := list(dir, maxEntries)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", textType)
	_, _ = io.WriteString(w, text)
	return nil
}

// list gives a line for each entry, sorted by name and at most limit of them: the name, with a slash after a
// directory's, and a file's size in bytes; "-" stands for what has no size to speak of.
func list(dir *os.File, limit int) (string, error) {
	names, err := dir.Readdirnames(limit + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("list a directory: %w", err)
	}
	more := len(names) > limit
	names = names[:min(len(names), limit)]
	slices.Sort(names)
	var text strings.Builder
	for _, name := range names {
		shown, size, ok := describe(dir, name)
		if ok {
			fmt.Fprintf(&text, "%-40s %12s\n", shown, size)
		}
	}
	if more {
		fmt.Fprintf(&text, "... and more: only %d are shown\n", limit)
	}
	return text.String(), nil
}

// describe looks at an entry without following it; not ok when it has gone meanwhile.
func describe(dir *os.File, name string) (shown, size string, ok bool) {
	var st unix.Stat_t
	if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return "", "", false
	}
	shown = printable(name)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return shown + "/", "-", true
	case unix.S_IFREG:
		return shown, strconv.FormatInt(st.Size, 10), true
	default:
		return shown, "-", true
	}
}

// printable quotes a name that would break the listing or a terminal.
func printable(name string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if utf8.ValidString(name) && !strings.ContainsFunc(name, odd) {
		return name
	}
	return strconv.Quote(name)
}
