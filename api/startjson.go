package api

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// MaxStartMessageBytes bounds a start message, for the same reason as a staging request: it travels beside all that is known of
// its app's instances.
const MaxStartMessageBytes = 1 << 20

// ParseStartMessage reads a start message in the wire's form, of at most MaxStartMessageBytes. It fails with an error of
// type ErrInvalidRequest that repeats none of the message's values; what the values mean is left to Validate.
//
// What a DEA called a field once it had taken the message in is understood as well as what the cloud controller calls it:
// instance_index, application_id, application_version, application_name, application_uris, droplet_sha1, droplet_uri, and
// environment as an object. A DEA preferred those silently; here two that say different things are refused.
//
// Fields without a meaning here are dropped, as unknown ones are, since cloud controllers send them with every start:
//   - prod: no node is for production alone.
//   - debug and console: early DEAs opened further ports for a debugger and a console. The last ones did not, and took
//     apps that ask for them all the same.
//   - executableFile: the droplet in a directory that cloud controller and DEAs shared. It is downloaded instead.
//   - users, tags: for older controllers' own use; no app sees them.
//   - instance_id, private_instance_id and what else is a DEA's own of its snapshot: an instance's id is
//     none of the message's.
func ParseStartMessage(text []byte) (StartMessage, error) {
	var message StartMessage
	var names spellings
	// Twice, and not into one struct that embeds the other: its name would stand in the decoder's errors.
	if err := readJSON(text, MaxStartMessageBytes, &message, &names); err != nil {
		return StartMessage{}, err
	}
	var f findings
	names.settle(&f, &message)
	if err := f.err("the start message is not valid"); err != nil {
		return StartMessage{}, err
	}
	return message, nil
}

// spellings are the fields of a start message that have two names; nil for one that is not there.
type spellings struct {
	Index              *int               `json:"index"`
	InstanceIndex      *int               `json:"instance_index"`
	Droplet            *string            `json:"droplet"`
	ApplicationID      *string            `json:"application_id"`
	Version            *string            `json:"version"`
	ApplicationVersion *string            `json:"application_version"`
	Name               *string            `json:"name"`
	ApplicationName    *string            `json:"application_name"`
	URIs               *[]string          `json:"uris"`
	ApplicationURIs    *[]string          `json:"application_uris"`
	SHA1               *string            `json:"sha1"`
	DropletSHA1        *string            `json:"droplet_sha1"`
	ExecutableURI      *string            `json:"executableUri"`
	DropletURI         *string            `json:"droplet_uri"`
	Env                *[]string          `json:"env"`
	Environment        *map[string]string `json:"environment"`
}

// settle gives the message, which was read by the controller's names, what stands under the other ones.
func (s spellings) settle(f *findings, m *StartMessage) {
	settle(f, "index", "instance_index", s.Index, s.InstanceIndex, &m.Index)
	settle(f, "droplet", "application_id", s.Droplet, s.ApplicationID, &m.AppID)
	settle(f, "version", "application_version", s.Version, s.ApplicationVersion, &m.Version)
	settle(f, "name", "application_name", s.Name, s.ApplicationName, &m.Name)
	settle(f, "uris", "application_uris", s.URIs, s.ApplicationURIs, &m.URIs)
	settle(f, "sha1", "droplet_sha1", s.SHA1, s.DropletSHA1, &m.SHA1)
	settle(f, "executableUri", "droplet_uri", s.ExecutableURI, s.DropletURI, &m.ExecutableURI)
	s.settleEnv(f, m)
}

func settle[T any](f *findings, name, alias string, value, other, to *T) {
	switch {
	case other == nil:
	case value == nil:
		*to = *other
	case !reflect.DeepEqual(*value, *other):
		f.contradicts(alias, name)
	}
}

// settleEnv is settle for the environment, which is a list under one name and an object under the other.
func (s spellings) settleEnv(f *findings, m *StartMessage) {
	switch {
	case s.Environment == nil:
	case slices.ContainsFunc(slices.Collect(maps.Keys(*s.Environment)), func(name string) bool { return strings.Contains(name, "=") }):
		f.add("environment", "needs names of letters, digits and '_'")
	case s.Env == nil:
		m.Env = nil
		for _, name := range slices.Sorted(maps.Keys(*s.Environment)) {
			m.Env = append(m.Env, name+"="+(*s.Environment)[name])
		}
	case !maps.Equal(environment(*s.Env), *s.Environment):
		f.contradicts("environment", "env")
	}
}

// environment is a list of pairs as a map; of one name the last counts.
func environment(pairs []string) map[string]string {
	all := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		all[name] = value
	}
	return all
}

func (f *findings) contradicts(alias, name string) {
	f.add(alias, "says something else than "+name+": send one of them")
}
