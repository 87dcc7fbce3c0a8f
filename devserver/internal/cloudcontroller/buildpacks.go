package cloudcontroller

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"time"
)

// buildpackRetention is how long a buildpack that is offered no more can still be fetched: stagings that were asked
// for before a restart name it.
const buildpackRetention = 24 * time.Hour

// BuildpackSource is a buildpack as a directory, with bin/detect, bin/compile and bin/release in it.
type BuildpackSource struct {
	// Name is what the key begins with: letters, digits, '-', '_' and '.', 100 at most.
	Name string
	// Dir is the directory. All of it is packed but for .git; what can be executed stays so.
	Dir string
	// Extra adds files from elsewhere: slash-separated path in the zip to file on disk. One of Dir's at the same path
	// is left out.
	Extra map[string]string
}

// buildpack is one that was packed.
type buildpack struct {
	name string
	// key is the name and the first 12 digits of a digest of the content: the same content has the same key.
	key string
}

func (b buildpack) file() string { return path.Join(buildpacksDir, b.key+".zip") }

var (
	buildpackName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	buildpackKey  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}-[0-9a-f]{12}$`)
)

// packAll packs what the store does not have yet, and lets go of what nobody asks for any more.
func packAll(s *store, sources []BuildpackSource) ([]buildpack, error) {
	var packed []buildpack
	offered := map[string]bool{}
	for _, source := range sources {
		b, err := packInto(s, source)
		if err != nil {
			return nil, fmt.Errorf("pack buildpack %q: %w", source.Name, err)
		}
		if offered[b.key] {
			return nil, fmt.Errorf("buildpack %q is given twice", source.Name)
		}
		offered[b.key] = true
		packed = append(packed, b)
	}
	return packed, dropOld(s, offered)
}

func packInto(s *store, source BuildpackSource) (buildpack, error) {
	if !buildpackName.MatchString(source.Name) {
		return buildpack{}, errors.New("the name must be letters, digits, '-', '_' and '.', 100 at most")
	}
	members, err := gather(source)
	if err != nil {
		return buildpack{}, err
	}
	sum, err := digestMembers(members)
	if err != nil {
		return buildpack{}, err
	}
	b := buildpack{name: source.Name, key: source.Name + "-" + sum[:12]}
	now := time.Now()
	if s.exists(b.file()) {
		// Offered again: its retention begins when it was offered last.
		return b, s.root.Chtimes(b.file(), now, now)
	}
	tmp, packedSum, err := writeZip(s, members)
	if err != nil {
		return buildpack{}, err
	}
	if packedSum != sum {
		return buildpack{}, errors.Join(errors.New("its files changed while they were packed"), s.discard(tmp))
	}
	return b, s.move(tmp, b.file())
}

// dropOld removes buildpacks that were last offered longer than the retention ago.
func dropOld(s *store, offered map[string]bool) error {
	entries, err := s.list(buildpacksDir)
	if err != nil {
		return fmt.Errorf("list the buildpacks: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("look at an old buildpack: %w", err)
		}
		key := e.Name()[:len(e.Name())-len(path.Ext(e.Name()))]
		if offered[key] || time.Since(info.ModTime()) < buildpackRetention {
			continue
		}
		if err := s.discard(path.Join(buildpacksDir, e.Name())); err != nil {
			return fmt.Errorf("remove an old buildpack: %w", err)
		}
	}
	return nil
}

// listedBuildpack is one of a staging request's admin_buildpacks, with the name that people call it.
type listedBuildpack struct {
	Key  string `json:"key"`
	Name string `json:"name"`
	URL  string `json:"url"`
}

func (s *Server) listBuildpacks(w http.ResponseWriter, r *http.Request) error {
	list := make([]listedBuildpack, 0, len(s.buildpacks))
	for _, b := range s.buildpacks {
		list = append(list, listedBuildpack{
			Key: b.key, Name: b.name, URL: s.urlFor(r, "/v2/buildpacks/"+b.key+"/download"),
		})
	}
	return writeJSON(w, http.StatusOK, list)
}

func (s *Server) getBuildpack(w http.ResponseWriter, r *http.Request) error {
	key := r.PathValue("key")
	if !buildpackKey.MatchString(key) {
		return notFound("The buildpack")
	}
	return s.serve(w, r, blob{
		name: buildpack{key: key}.file(), what: "The buildpack", mediaType: "application/zip", tag: key,
	})
}
