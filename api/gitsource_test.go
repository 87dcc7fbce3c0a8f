package api_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

func TestParseGitSource(t *testing.T) {
	for text, test := range map[string]struct{ url, ref, shown string }{
		"https://example.org/a/b.git":          {"https://example.org/a/b.git", "", "https://example.org/a/b.git"},
		"https://example.org/a/b.git#v1.2":     {"https://example.org/a/b.git", "v1.2", "https://example.org/a/b.git#v1.2"},
		"https://u:swordfish@example.org/b":    {"https://u:swordfish@example.org/b", "", "https://example.org/b"},
		"https://swordfish@example.org/b#m":    {"https://swordfish@example.org/b", "m", "https://example.org/b#m"},
		"https://h/b.git?private=swordfish":    {"https://h/b.git?private=swordfish", "", "https://h/b.git"},
		"http://h:8080/b":                      {"http://h:8080/b", "", "http://h:8080/b"},
		"git://h/b#feature/x":                  {"git://h/b", "feature/x", "git://h/b#feature/x"},
		"ssh://git@h:22/~u/b":                  {"ssh://git@h:22/~u/b", "", "ssh://h:22/~u/b"},
		"file:///srv/git/b.git#0a1b2c3":        {"file:///srv/git/b.git", "0a1b2c3", "file:///srv/git/b.git#0a1b2c3"},
		"git@example.org:a/b.git":              {"git@example.org:a/b.git", "", "example.org:a/b.git"},
		"git@example.org:/srv/b.git#v1":        {"git@example.org:/srv/b.git", "v1", "example.org:/srv/b.git#v1"},
		"example.org:a/b":                      {"example.org:a/b", "", "example.org:a/b"},
		"https://h/%0a%1b":                     {"https://h/%0a%1b", "", "https://h/%0a%1b"},
		"https://[::1]:80/b":                   {"https://[::1]:80/b", "", "https://[::1]:80/b"},
		"https://h/" + strings.Repeat("a", 99): {"https://h/" + strings.Repeat("a", 99), "", "https://h/" + strings.Repeat("a", 99)},
	} {
		got, err := api.ParseGitSource(text)
		require.NoError(t, err, text)
		require.Equal(t, api.GitSource{URL: test.url, Ref: test.ref}, got)
		require.Equal(t, test.shown, got.Shown(), text)
		require.NotContains(t, got.Shown(), hush)
	}
}

func TestWhatIsNoGitSource(t *testing.T) {
	for name, texts := range map[string][]string{
		"nothing":             {"", "#", "#v1", "go", "a b", "/srv/git/b", "./b", "b.git"},
		"another transport":   {"ftp://h/b", "ext::sh -c x", "ext::sh%20-c%20x", "ext::https://h/b", "fd::17/x", "a@ext::x", "https::http://h/b", "HTTPS://h/b", "EXT://h/b", "javascript://h/b"},
		"an option":           {"--upload-pack=x", "-u://h/b", "-oProxyCommand=x@h:b", "ssh://-oProxyCommand=x/b", "ssh://-x@h/b", "ssh://%2dx@h/b", "git@-h:b", "git@h:-b", "h:--upload-pack=x"},
		"no host":             {"https://", "https:///b", "https://:80/b", "ssh://git@/b", "file://h/b", "file://b", "https:b://c"},
		"control characters":  {"https://h/b\n", "https://h/\x00", "https://h/\x1b[2Jb", "git@h:b\rx", "https://h/b#v\x07", "https://h/\u202ebig", "https://h/b c", "https://h/b\u00a0c", "https://h/\u0085"},
		"a bad ref":           {"https://h/b#", "https://h/b#-x", "https://h/b#a..b", "https://h/b#a b", "https://h/b#a#b", "https://h/b#@{-1}", "https://h/b#x@{1}", "https://h/b#a:b", "https://h/b#~1", "https://h/b#" + strings.Repeat("a", 256)},
		"a bad URL":           {"https://h:%zz/", "https://h:port/b", "https://u:swordfish@h:%zz/b", "https://swordfish\\@h/b"},
		"beyond any address":  {"https://h/" + strings.Repeat("a", 4096)},
		"a path with a colon": {"git@h:a:b", "h::b", "git@h://b"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, text := range texts {
				got, err := api.ParseGitSource(text)
				require.ErrorContains(t, err, "must be a git URL", text)
				require.Zero(t, got)
				require.NotContains(t, err.Error(), hush)
			}
		})
	}
}

func TestIsGitSource(t *testing.T) {
	for text, want := range map[string]bool{
		"https://h/b": true, "https://h/b#v1": true, "ext://h/b": true, "://": true, "git@h:a/b": true, "git@h:a/b#v1": true,
		"u.x@h:/b": true, "go": false, "": false, "go-1f_2e": false, "a:b": false, "go@1": false, "@h:b": false, "git@h": false,
		"x#git@h:b": false,
	} {
		require.Equal(t, want, api.IsGitSource(text), text)
	}
}

// TestShownOfWhatWasNotParsed: a source that came some other way shows no more.
func TestShownOfWhatWasNotParsed(t *testing.T) {
	for _, url := range []string{
		"https://u:swordfish@h:%zz/b", "https://u:a@swordfish@h:%zz/b", "://u:swordfish@h", "https:u:swordfish@h://b",
	} {
		require.NotContains(t, api.GitSource{URL: url}.Shown(), hush, url)
	}
}

// FuzzParseGitSource: what is taken can be no option and no other transport, and shows no user.
func FuzzParseGitSource(f *testing.F) {
	for _, seed := range []string{
		"https://u:pw@h/b.git#v1", "git@h:a/b", "ssh://-x@h/b", "ext::sh -c x", "file:///b", "https::http://h", "h:b#x", "https://h/b?x=y",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := api.ParseGitSource(text)
		if err != nil {
			require.Zero(t, got)
			return
		}
		require.False(t, strings.HasPrefix(got.URL, "-") || strings.HasPrefix(got.Ref, "-"))
		scheme, _, has := strings.Cut(got.URL, "://")
		require.True(t, !has || slices.Contains([]string{"https", "http", "ssh", "git", "file"}, scheme), got.URL)
		require.False(t, !has && strings.Contains(got.URL, "::"), "a remote helper's")
		text = got.URL
		if got.Ref != "" {
			text += "#" + got.Ref
		}
		again, err := api.ParseGitSource(text)
		require.NoError(t, err)
		require.Equal(t, got, again)
		_, err = json.Marshal(got.Shown())
		require.NoError(t, err)
	})
}
