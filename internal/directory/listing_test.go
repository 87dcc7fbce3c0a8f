package directory

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

// markup is a file's name that would be some of a page.
const markup = `<script>alert('1')<"&x`

// odd fills a directory with all that there is to list.
func (n *node) odd() {
	n.t.Helper()
	n.write("app/main.go", "package main")
	n.write("app/.hidden", "")
	n.write("app/sub/x", "")
	n.write("app/new\nline", "abc")
	n.write("app/größe", "abcd")
	n.write(`app/`+markup, "")
	n.link("/etc/passwd", "app/link")
	require.NoError(n.t, syscall.Mkfifo(filepath.Join(n.instance, "app", "pipe"), 0o600))
}

func TestADirectoryIsListed(t *testing.T) {
	n := newNode(t)
	n.odd()
	a := n.read("app")
	require.Equal(t, http.StatusOK, a.status)
	require.Equal(t, textType, a.header.Get("Content-Type"))
	var lines []string
	for line := range strings.Lines(a.body) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	require.Equal(t, []string{
		".hidden 0", markup + " 0", "größe 4", "link -", "main.go 12", `"new\nline" 3`, "pipe -", "sub/ -",
	}, lines)
	require.Contains(t, n.read("").body, "app/")
	require.Equal(t, n.read("").body, n.read("/").body)
}

func TestAListingAsJSON(t *testing.T) {
	n := newNode(t)
	n.odd()
	modified := time.Date(2024, 2, 29, 12, 0, 0, 5000, time.UTC)
	require.NoError(t, os.Chtimes(filepath.Join(n.instance, "app", "main.go"), modified, modified))
	a := n.get(n.with(n.url("app", false), paramFormat, "json"))
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	var l api.FileListing
	require.NoError(t, json.Unmarshal([]byte(a.body), &l))
	require.Equal(t, "app", l.Path)
	require.False(t, l.Truncated)
	types := map[string]api.FileType{}
	for _, entry := range l.Entries {
		types[entry.Name] = entry.Type
		if entry.Name == "main.go" {
			require.Equal(t, api.FileEntry{
				Name: "main.go", Type: api.FileTypeFile, Size: 12, Mode: "0600", Modified: modified,
			}, entry)
		}
	}
	require.Equal(t, map[string]api.FileType{
		".hidden": api.FileTypeFile, markup: api.FileTypeFile, "größe": api.FileTypeFile,
		"link": api.FileTypeLink, "main.go": api.FileTypeFile, "new\nline": api.FileTypeFile, "pipe": api.FileTypeOther,
		"sub": api.FileTypeDirectory,
	}, types)
	n.write("none/x", "")
	require.NoError(t, os.Remove(filepath.Join(n.instance, "none", "x")))
	require.Contains(t, n.get(n.with(n.url("none", false), paramFormat, "json")).body, `"entries":[]`)
}

func TestAListingAsAPage(t *testing.T) {
	n := newNode(t)
	n.odd()
	a := n.get(n.url("app", false), "Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Equal(t, "text/html; charset=utf-8", a.header.Get("Content-Type"))
	require.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"))
	require.Contains(t, a.header.Get("Content-Security-Policy"), "default-src 'none'")
	require.NotContains(t, a.body, "<script")
	require.Contains(t, a.body, "&lt;script&gt;alert(")
	require.NotContains(t, a.body, "new\nline")
	for _, name := range []string{"link", "pipe"} {
		require.NotRegexp(t, `<a [^>]*>`+name+`</a>`, a.body)
	}
}

// links are a page's, as URLs.
func (n *node) links(page answered) []string {
	n.t.Helper()
	base := n.http.URL + "/instance_paths/" + instanceID
	var found []string
	for _, link := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(page.body, -1) {
		found = append(found, base+strings.ReplaceAll(link[1], "&amp;", "&"))
	}
	return found
}

func TestThePagesLinksOpenWhatIsBeneathIt(t *testing.T) {
	n := newNode(t)
	n.odd()
	for _, path := range []string{"app", "/app/", "./app"} {
		page := n.get(n.with(n.url(path, false), paramFormat, "html"))
		bodies := map[string]bool{}
		links := n.links(page)
		require.Len(t, links, 6, page.body) // files and directories
		for _, link := range links {
			a := n.get(link)
			require.Equal(t, http.StatusOK, a.status, link)
			bodies[a.body] = true
			u, err := url.Parse(link)
			require.NoError(t, err)
			require.Contains(t, u.Query().Get(paramPath), "app/", "nothing but what is beneath the page")
		}
		require.True(t, bodies["package main"] && bodies["abc"] && bodies["abcd"], bodies)
	}
}

// TestThePagesLinksEndWithThePage: a page that is asked for late gives nobody another hour.
func TestThePagesLinksEndWithThePage(t *testing.T) {
	n := newNode(t)
	n.write("app/file", "x")
	signed := n.url("app", false)
	n.ahead.Store(int64((Lifetime - 5*time.Second) / time.Second))
	links := n.links(n.get(n.with(signed, paramFormat, "html")))
	require.Len(t, links, 1)
	require.Equal(t, http.StatusOK, n.get(links[0]).status)
	n.ahead.Store(int64((Lifetime + 5*time.Second) / time.Second))
	require.Equal(t, http.StatusBadRequest, n.get(links[0]).status)
}

func TestTheFormatIsTheOneThatIsLikedBest(t *testing.T) {
	for accept, want := range map[string]format{
		"": asText, "*/*": asText, "text/html": asHTML, "application/json": asJSON, "text/plain": asText,
		"application/json, text/plain, */*": asJSON, "text/html;q=0.2, application/json;q=0.3": asJSON,
		"text/plain;q=0.1, text/html": asHTML, "image/png": asText, "text/html;q=0": asText, "nonsense;;;": asText,
		"text/html;q=x, application/json;q=0.1": asJSON,
	} {
		require.Equal(t, want, accepted([]string{accept}), accept)
	}
	n := newNode(t)
	page := n.get(n.with(n.url("", false), paramFormat, "html"), "Accept", "application/json")
	require.Equal(t, "text/html; charset=utf-8", page.header.Get("Content-Type"), "the query goes first")
	require.Equal(t, "Accept", page.header.Get("Vary"))
	require.Equal(t, http.StatusBadRequest, n.get(n.with(n.url("", false), paramFormat, "xml")).status)
}

func TestAListingHasAnEnd(t *testing.T) {
	n := newNode(t)
	for i := range 5 {
		n.write(strconv.Itoa(i), "")
	}
	for limit, entries := range map[int]int{4: 4, 5: 5, 6: 5} {
		dir, err := os.Open(n.instance)
		require.NoError(t, err)
		found, err := list(dir, limit)
		require.NoError(t, errors.Join(err, dir.Close()))
		require.Len(t, found.Entries, entries)
		require.Equal(t, limit < 5, found.Truncated)
		var text, page strings.Builder
		l := listing{FileListing: found, address: func(string) string { return "?" }}
		require.NoError(t, errors.Join(writeText(&text, l), writeHTML(&page, l)))
		require.Equal(t, limit < 5, strings.Contains(text.String(), "and more"))
		require.Equal(t, limit < 5, strings.Contains(page.String(), "and more"))
	}
}
