package archive

import (
	"context"
	"path"
	"strings"
	"unicode/utf8"
)

// Longest names that Linux takes.
const (
	maxName      = 4095
	maxComponent = 255
)

// maxDepth is how many directories may lie in each other. Each costs a step for everything within it, and nobody has
// so many.
const maxDepth = 256

// cleanName checks the name of an entry and gives the slash-separated path beneath the directory, "." for the
// directory itself. anyBytes allows names that are no UTF-8, and of any depth.
func cleanName(name string, anyBytes bool) (string, error) {
	if !anyBytes && !utf8.ValidString(name) {
		return "", refuse(ErrName, name, "is not a name in UTF-8")
	}
	if strings.ContainsRune(name, 0) {
		return "", refuse(ErrName, name, "has a NUL in its name")
	}
	if name == "" {
		return "", refuse(ErrName, name, "the archive has an entry without a name")
	}
	if err := checkSlashes(name, name); err != nil {
		return "", err
	}
	// Whoever unpacks with Windows' rules reads backslashes as separators: what leaves then is a trick.
	if windows := strings.ReplaceAll(name, `\`, "/"); windows != name {
		if err := checkSlashes(windows, name); err != nil {
			return "", err
		}
	}
	clean := path.Clean(name)
	if len(clean) > maxName {
		return "", refuse(ErrName, name, "is too long a name")
	}
	if !anyBytes && strings.Count(clean, "/") > maxDepth {
		return "", refuse(ErrName, name, "lies too deep: in more than 256 directories")
	}
	for part := range strings.SplitSeq(clean, "/") {
		if len(part) > maxComponent {
			return "", refuse(ErrName, name, "is too long a name")
		}
	}
	return clean, nil
}

// checkSlashes refuses a path that is absolute or climbs; name is how the archive has it.
func checkSlashes(p, name string) error {
	if strings.HasPrefix(p, "/") {
		return refuse(ErrOutside, name, "is an absolute name")
	}
	if p != name && len(p) >= 2 && p[1] == ':' {
		return refuse(ErrOutside, name, "is an absolute name")
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return refuse(ErrOutside, name, `leaves the directory with ".."`)
		}
	}
	return nil
}

// links are the symbolic links of an archive: where each leads, by its clean name.
type links map[string]string

// maxLinkSteps is how many links may be followed from one. Linux gives up after 40, careful programs after 255.
const maxLinkSteps = 255

// maxLinkWork bounds the following of all links, in bytes of names that are put together. Half a million links as in
// node_modules/.bin take less; links made to lead through each other take no more than seconds.
const maxLinkWork = 1 << 30

// check refuses the first link, in no particular order, that leads outside when it is followed through all the
// others. What is not a link counts as a directory: it may become one.
func (l links) check(ctx context.Context) error {
	work := maxLinkWork
	for name := range l {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.follow(name, &work); err != nil {
			return err
		}
	}
	return nil
}

func (l links) follow(name string, work *int) error {
	outside := refuse(ErrLink, name, "is a link that leads out of the directory")
	at := splitDir(name)
	todo := []string{path.Base(name)}
	for steps := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return outside
			}
			at = at[:len(at)-1]
			continue
		}
		place := strings.Join(append(at[:len(at):len(at)], part), "/")
		const perStep, perPart = 64, 16
		if *work -= perStep + len(place) + perPart*len(todo); *work < 0 {
			return refuse(ErrLink, name, "is one of too many links that lead through each other")
		}
		target, isLink := l[place]
		if !isLink {
			at = append(at, part)
			continue
		}
		if strings.HasPrefix(target, "/") {
			return outside
		}
		if steps++; steps > maxLinkSteps {
			return refuse(ErrLink, name, "is a link that leads in a circle")
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return nil
}

func splitDir(name string) []string {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	return strings.Split(dir, "/")
}

// checkTarget refuses what no link can hold.
func checkTarget(name, target string) error {
	if target == "" || len(target) > maxName || strings.ContainsRune(target, 0) {
		return refuse(ErrLink, name, "is a link that leads nowhere")
	}
	return nil
}
