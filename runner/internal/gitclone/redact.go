package gitclone

import (
	"net/url"
	"regexp"
	"strings"
)

// redactor takes out of what git says all that must not be told: the credentials of the clone's URL, wherever they
// stand, and those of any other URL.
type redactor struct {
	known *strings.Replacer
	// user is the name in the URL as a word of its own, nil when it is none.
	user *regexp.Regexp
}

const hidden = "[hidden]"

// shortest is the shortest secret that is looked for beyond the URL: what is shorter is in every other word.
const shortest = 3

var (
	anyUser  = regexp.MustCompile(`(://)[^/\s@'"]+@`)
	anyQuery = regexp.MustCompile(`(://[^\s?'"]*)\?[^\s'"]*`)
)

func newRedactor(c Clone) redactor {
	pairs := []string{c.URL, c.Shown}
	scheme, rest, hasScheme := strings.Cut(c.URL, "://")
	if !hasScheme {
		// user@host:path, whose user is hardly a secret, and no word of its own.
		if user, _, has := strings.Cut(c.URL, "@"); has {
			pairs = append(pairs, user+"@", "")
		}
		return redactor{known: strings.NewReplacer(hide(pairs, c.Hidden)...)}
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, _, _ := strings.Cut(rest, "/")
	r := redactor{}
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, password, _ := strings.Cut(authority[:at], ":")
		pairs = append(pairs, authority[:at+1], "")
		pairs = append(pairs, secret(password)...)
		if strings.HasPrefix(scheme, "http") {
			r.user = word(user)
		}
	}
	pairs = append(pairs, secret(query)...)
	for parameter := range strings.SplitSeq(query, "&") {
		_, value, _ := strings.Cut(parameter, "=")
		pairs = append(pairs, secret(value)...)
	}
	r.known = strings.NewReplacer(hide(pairs, c.Hidden)...)
	return r
}

func hide(pairs []string, dir string) []string {
	if len(dir) > 1 {
		pairs = append(pairs, dir, "")
	}
	return pairs
}

// secret hides a part of a URL as it stands there and as it is meant.
func secret(part string) []string {
	if len(part) < shortest {
		return nil
	}
	pairs := []string{part, hidden}
	if meant, err := url.PathUnescape(part); err == nil && meant != part && len(meant) >= shortest {
		pairs = append(pairs, meant, hidden)
	}
	return pairs
}

// word finds a user's name; "git" is everybody's.
func word(user string) *regexp.Regexp {
	meant, err := url.PathUnescape(user)
	if err != nil || len(user) < shortest || user == "git" {
		return nil
	}
	edge := func(b byte) string {
		if b == '_' || '0' <= b && b <= '9' || 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z' {
			return `\b`
		}
		return ""
	}
	pattern := func(name string) string {
		return edge(name[0]) + regexp.QuoteMeta(name) + edge(name[len(name)-1])
	}
	return regexp.MustCompile(pattern(user) + "|" + pattern(meant))
}

func (r redactor) apply(said []byte) []byte {
	text := r.known.Replace(string(said))
	if r.user != nil {
		text = r.user.ReplaceAllLiteralString(text, hidden)
	}
	text = anyUser.ReplaceAllString(text, "$1")
	return []byte(anyQuery.ReplaceAllString(text, "$1"))
}
