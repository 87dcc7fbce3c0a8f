package pack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
)

// ignoreFile is read in the app's top directory.
const ignoreFile = ".cfignore"

// always are left out whatever the ignore file says first; it may take them back with "!".
var always = []string{".git", ".hg", ".svn", "_darcs", ".DS_Store", "/" + ignoreFile}

// ignore decides what is left out. The last rule that fits a name wins, and what lies in a directory that is left out
// is left out too.
type ignore struct{ rules []ignoreRule }

type ignoreRule struct {
	pattern *regexp.Regexp
	dirOnly bool
	negate  bool
}

func loadIgnore(root *os.Root) (*ignore, error) {
	text, err := root.ReadFile(ignoreFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", ignoreFile, err)
	}
	return parseIgnore(append(append([]string{}, always...), strings.Split(string(text), "\n")...))
}

func parseIgnore(lines []string) (*ignore, error) {
	var g ignore
	for _, line := range lines {
		line = strings.TrimRight(line, " \t\r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		rule, err := parseRule(line)
		if err != nil {
			return nil, err
		}
		g.rules = append(g.rules, rule)
	}
	return &g, nil
}

func parseRule(line string) (ignoreRule, error) {
	var rule ignoreRule
	text := line
	if strings.HasPrefix(text, "!") {
		rule.negate, text = true, text[1:]
	}
	text = strings.TrimPrefix(text, `\`)
	if strings.HasSuffix(text, "/") {
		rule.dirOnly, text = true, strings.TrimRight(text, "/")
	}
	// A pattern with a slash at its beginning or middle holds from the top; any other holds at every depth.
	prefix := "(.*/)?"
	if strings.Contains(text, "/") {
		prefix, text = "", strings.TrimPrefix(text, "/")
	}
	pattern, err := regexp.Compile("^" + prefix + globToRegexp(text) + "$")
	if err != nil {
		return rule, fmt.Errorf("%s: the pattern %q cannot be read", ignoreFile, line)
	}
	rule.pattern = pattern
	return rule, nil
}

// globToRegexp writes a glob as a regular expression: * and ? stop at a slash, ** does not, [...] is a class.
func globToRegexp(glob string) string {
	var b strings.Builder
	for i := 0; i < len(glob); i++ {
		rest := glob[i:]
		switch {
		case strings.HasPrefix(rest, "**/"):
			b.WriteString("(.*/)?")
			i += 2
		case strings.HasPrefix(rest, "**"):
			b.WriteString(".*")
			i++
		case glob[i] == '*':
			b.WriteString("[^/]*")
		case glob[i] == '?':
			b.WriteString("[^/]")
		case glob[i] == '[' && strings.Contains(rest[1:], "]"):
			end := strings.Index(rest[1:], "]") + 1
			class := strings.ReplaceAll(rest[1:end], `\`, `\\`)
			if strings.HasPrefix(class, "!") {
				class = "^" + class[1:]
			}
			b.WriteString("[" + class + "]")
			i += end
		default:
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		}
	}
	return b.String()
}

// match tells whether a name, relative to the top and with slashes, is left out.
func (g *ignore) match(name string, dir bool) bool {
	if parent := path.Dir(name); parent != "." && g.match(parent, true) {
		return true
	}
	out := false
	for _, rule := range g.rules {
		if (!rule.dirOnly || dir) && rule.pattern.MatchString(name) {
			out = !rule.negate
		}
	}
	return out
}
