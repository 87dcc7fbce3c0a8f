package api

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// GitSource is a buildpack in a git repository.
type GitSource struct {
	// URL is the repository's, without the ref. Secret: credentials may stand in it.
	URL string `json:"url"`
	// Ref is a branch, a tag or a commit; empty for the repository's default branch.
	Ref string `json:"ref,omitempty"`
}

// gitSchemes are the transports that a buildpack may come by. git's others run programs of the URL's choice.
var gitSchemes = []string{"https", "http", "ssh", "git", "file"}

var (
	// scpShape is git's short form of ssh, [user@]host:path. A path that begins with a slash-slash would be a scheme, one that
	// begins with a "-" an option.
	scpShape = regexp.MustCompile(`^([A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9.-]*:[^:/-][^:]*$|^([A-Za-z0-9._-]+@)[A-Za-z0-9][A-Za-z0-9.-]*:/[^/].*$`)
	// refShape is narrower than git's own rule for names (git-check-ref-format), and has no leading "-", which would
	// be an option.
	refShape = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/+@-]{0,254}$`)
)

// maxGitURL is longer than any address in use, tokens included.
const maxGitURL = 4096

// errGitSource has no value in it: a git URL may hold a token.
var errGitSource = errors.New("must be a git URL (https, http, ssh, git or file, or user@host:path), which #branch, #tag or #commit may follow")

// IsGitSource tells a git URL from the key of an admin buildpack: it has a scheme or the short form user@host:path.
func IsGitSource(text string) bool {
	return strings.Contains(text, "://") || strings.Contains(text, "@") && scpShape.MatchString(withoutRef(text))
}

// ParseGitSource reads a git URL with an optional ref behind a "#". Its error repeats nothing of the text.
func ParseGitSource(text string) (GitSource, error) {
	address, ref, hasRef := strings.Cut(text, "#")
	switch {
	case len(text) > maxGitURL, strings.ContainsFunc(text, unfit), strings.HasPrefix(address, "-"):
		return GitSource{}, errGitSource
	case hasRef && (!refShape.MatchString(ref) || strings.Contains(ref, "..") || strings.Contains(ref, "@{")):
		return GitSource{}, errGitSource
	}
	source := GitSource{URL: address, Ref: ref}
	if !strings.Contains(address, "://") {
		if !scpShape.MatchString(address) {
			return GitSource{}, errGitSource
		}
		return source, nil
	}
	u, err := url.Parse(address)
	// git knows its transports in lower case alone; any other it takes for the name of a program.
	if err != nil || !slices.Contains(gitSchemes, u.Scheme) || !strings.HasPrefix(address, u.Scheme+"://") {
		return GitSource{}, errGitSource
	}
	if host := u.Hostname(); u.Scheme == "file" {
		if host != "" || !strings.HasPrefix(u.Path, "/") {
			return GitSource{}, errGitSource
		}
	} else if host == "" || strings.HasPrefix(host, "-") || u.User.Username() != "" && strings.HasPrefix(u.User.Username(), "-") {
		return GitSource{}, errGitSource
	}
	return source, nil
}

// unfit tells what no address has, and what would put lines of somebody else's into a log or turn its words around.
func unfit(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) }

func withoutRef(text string) string {
	address, _, _ := strings.Cut(text, "#")
	return address
}

// Shown is what may be shown of the source: no credentials, no query.
func (g GitSource) Shown() string {
	shown := g.URL
	if strings.Contains(g.URL, "://") {
		u, err := url.Parse(g.URL)
		if err != nil { // where its password ends cannot be told
			return "a git repository"
		}
		shown = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
	} else if _, rest, has := strings.Cut(g.URL, "@"); has {
		shown = rest
	}
	if g.Ref != "" {
		shown += "#" + g.Ref
	}
	return shown
}
