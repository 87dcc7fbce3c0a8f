package router

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestARouteIsAHostOrAHostAndAPath(t *testing.T) {
	for uri, want := range map[string]struct {
		key
		path string
	}{
		"hello.localhost":              {key{host: "hello.localhost"}, ""},
		"Hello.LOCALHOST:8080/":        {key{host: "hello.localhost"}, ""},
		"a.example/Shop/New/":          {key{host: "a.example", path: "/shop/new"}, "/Shop/New"},
		"a.example/x?y=/z":             {key{host: "a.example", path: "/x"}, "/x"},
		"*.example.com/x":              {key{host: "example.com", wildcard: true, path: "/x"}, "/x"},
		"[::1]:80":                     {key{host: "::1"}, ""},
		"[::1]":                        {key{host: "::1"}, ""},
		"a.example//x":                 {key{host: "a.example", path: "//x"}, "//x"},
		"\u0130.example/\u0130/\u0130": {key{host: "i.example", path: "/i/i"}, "/\u0130/\u0130"},
	} {
		k, path, ok := parseKey(uri)
		require.True(t, ok, uri)
		require.Equal(t, want.key, k, uri)
		require.Equal(t, want.path, path, uri)
	}
	for _, uri := range []string{"", "/x", "?", "*.", ":80", "*./x"} {
		_, _, ok := parseKey(uri)
		require.False(t, ok, uri)
	}
}

func FuzzParseKey(f *testing.F) {
	for _, seed := range []string{"hello.localhost", "*.Example.com/A/b/", "[::1]:80/x?y", "a//b", "*.", "\u0130/\u0130", "*.*.a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		k, path, ok := parseKey(uri)
		if !ok {
			return
		}
		if k.host == "" || strings.Contains(k.host, "/") || strings.HasSuffix(k.path, "/") ||
			k.path != "" && k.path[0] != '/' || strings.ToLower(path) != k.path {
			t.Fatalf("%q gives %+v and %q", uri, k, path)
		}
		// What was registered is found by a request for just that.
		if !k.covers(k.path) || !k.covers(k.path+"/x") {
			t.Fatalf("%q does not cover its own path", uri)
		}
		if k.path != "" && k.covers(k.path+"x") {
			t.Fatalf("%q covers the path of another", uri)
		}
	})
}
