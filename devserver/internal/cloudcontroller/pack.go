package cloudcontroller

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// zipEpoch is the time of every member: the same content makes the same zip, and it is the first that a zip can say.
var zipEpoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// member is a file, link or directory of a zip.
type member struct {
	// name is slash-separated; a directory's ends in a slash.
	name string
	// mode is one of four: a directory, a link, a file that can be executed or one that can't.
	mode fs.FileMode
	// source is the file on disk, target what a link says.
	source, target string
}

// gather lists what goes into a buildpack's zip, sorted by name.
func gather(source BuildpackSource) ([]member, error) {
	all := map[string]member{}
	root, err := filepath.EvalSymlinks(source.Dir)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		if rel == "." {
			if !d.IsDir() {
				return fmt.Errorf("%s is not a directory", source.Dir)
			}
			return nil
		}
		if d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		m, err := memberOf(filepath.ToSlash(rel), file, os.Lstat)
		all[strings.TrimSuffix(m.name, "/")] = m
		return err
	})
	if err != nil {
		return nil, err
	}
	for name, file := range source.Extra {
		if err := addExtra(all, name, file); err != nil {
			return nil, err
		}
	}
	members := slices.Collect(maps.Values(all))
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return members, nil
}

func addExtra(all map[string]member, name, file string) error {
	if !fs.ValidPath(name) || name == "." {
		return fmt.Errorf("%q is no path in a zip", name)
	}
	// Extra files may be links on disk: what they lead to is meant.
	m, err := memberOf(name, file, os.Stat)
	if err != nil {
		return err
	}
	if old := all[name]; m.mode.IsDir() || old.mode.IsDir() {
		return fmt.Errorf("%q: a file cannot stand for a directory, nor a directory for a file", name)
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if old, there := all[dir]; there && !old.mode.IsDir() {
			return fmt.Errorf("%q: %q is no directory", name, dir)
		}
		all[dir] = member{name: dir + "/", mode: fs.ModeDir | 0o755}
	}
	all[name] = m
	return nil
}

func memberOf(name, file string, stat func(string) (fs.FileInfo, error)) (member, error) {
	info, err := stat(file)
	if err != nil {
		return member{}, err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return member{name: name + "/", mode: fs.ModeDir | 0o755}, nil
	case mode.IsRegular() && mode&0o111 != 0:
		return member{name: name, mode: 0o755, source: file}, nil
	case mode.IsRegular():
		return member{name: name, mode: 0o644, source: file}, nil
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(file)
		if err != nil {
			return member{}, err
		}
		if path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) {
			return member{}, fmt.Errorf("the link %s leaves the buildpack", file)
		}
		return member{name: name, mode: fs.ModeSymlink | 0o777, target: target}, nil
	default:
		return member{}, fmt.Errorf("%s is neither a file, a directory nor a link", file)
	}
}

// content opens what a member holds; empty for a directory.
func (m member) content() (io.ReadCloser, error) {
	if m.source == "" {
		return io.NopCloser(strings.NewReader(m.target)), nil
	}
	return os.Open(m.source)
}

// digestMembers tells one content from any other, by names, modes and bytes. It does not depend on how the bytes
// are compressed, so a newer compressor changes no key.
func digestMembers(members []member) (string, error) {
	h := sha256.New()
	for _, m := range members {
		if err := copyMember(m, h, io.Discard); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func copyMember(m member, h hash.Hash, to io.Writer) (err error) {
	r, err := m.content()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	// The content's own digest has a fixed length, so no content can pass for the head of the next member.
	inner := sha256.New()
	if _, err := io.Copy(io.MultiWriter(inner, to), r); err != nil {
		return err
	}
	_, err = fmt.Fprintf(h, "%q %o %x\n", m.name, m.mode, inner.Sum(nil))
	return err
}

// writeZip packs the members into an upload of the store, and returns the digest of what was packed.
func writeZip(s *store, members []member) (file, sum string, err error) {
	h := sha256.New()
	r, w := io.Pipe()
	go func() {
		w.CloseWithError(packMembers(w, h, members))
	}()
	file, err = s.receive(r)
	// Ends the packing when the store could not keep it.
	_ = r.CloseWithError(err)
	if err != nil {
		return "", "", err
	}
	return file, hex.EncodeToString(h.Sum(nil)), nil
}

func packMembers(w io.Writer, h hash.Hash, members []member) error {
	z := zip.NewWriter(w)
	for _, m := range members {
		header := &zip.FileHeader{Name: m.name, Modified: zipEpoch, Method: zip.Deflate}
		if m.mode.IsDir() {
			header.Method = zip.Store
		}
		header.SetMode(m.mode)
		to, err := z.CreateHeader(header)
		if err != nil {
			return err
		}
		if err := copyMember(m, h, to); err != nil {
			return err
		}
	}
	return z.Close()
}
