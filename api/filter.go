package api

import (
	"fmt"
	"slices"
	"strings"
)

// InstanceFilter chooses instances of one app: what dea.find.droplet and dea.stop carry. Every criterion that is given must
// hold; one that is empty always does.
type InstanceFilter struct {
	// AppID is the app's id; the wire calls it droplet. Required.
	AppID string `json:"droplet"`
	// Version is the app's.
	Version string `json:"version,omitempty"`
	// InstanceIDs are those that may be chosen; the wire calls them instances, too.
	InstanceIDs []string `json:"instance_ids,omitempty"`
	// Indices are from 0 to MaxInstances-1.
	Indices []int `json:"indices,omitempty"`
	// States are in upper case here, in any on the wire.
	States []InstanceState `json:"states,omitempty"`
}

// MaxFilterBytes bounds a filter on the wire: as many ids as an app may have instances, many times over.
const MaxFilterBytes = 256 << 10

// ParseInstanceFilter reads a filter in the wire's form, of at most MaxFilterBytes. Ids under both of their names are taken
// together, as a DEA did; unknown fields are dropped. It fails with an error of type ErrInvalidRequest; what the values
// mean is left to Validate.
func ParseInstanceFilter(text []byte) (InstanceFilter, error) {
	var read struct {
		Droplet     string   `json:"droplet"`
		Version     string   `json:"version"`
		Instances   []string `json:"instances"`
		InstanceIDs []string `json:"instance_ids"`
		Indices     []int    `json:"indices"`
		States      []string `json:"states"`
	}
	if err := readJSON(text, MaxFilterBytes, &read); err != nil {
		return InstanceFilter{}, err
	}
	filter := InstanceFilter{
		AppID: read.Droplet, Version: read.Version, Indices: read.Indices,
		InstanceIDs: slices.Concat(read.InstanceIDs, read.Instances),
	}
	for _, state := range read.States {
		filter.States = append(filter.States, InstanceState(strings.ToUpper(state)))
	}
	return filter, nil
}

// Validate says what is wrong with the filter, all of it in one error of type ErrInvalidRequest. A filter that names no app is
// refused: it is none for the instances of all.
func (f InstanceFilter) Validate() error {
	var found findings
	found.id("droplet", f.AppID)
	if f.Version != "" {
		found.id("version", f.Version)
	}
	for i, id := range f.InstanceIDs {
		found.id(fmt.Sprintf("instance_ids[%d]", i), id)
	}
	for i, index := range f.Indices {
		found.between(fmt.Sprintf("indices[%d]", i), int64(index), 0, MaxInstances-1)
	}
	for i, state := range f.States {
		if !slices.Contains(InstanceStates(), state) {
			found.add(fmt.Sprintf("states[%d]", i), "is no state of an instance")
		}
	}
	return found.err("the choice of instances is not valid")
}

// All tells whether the filter chooses every instance of its app, since it has no criterion.
func (f InstanceFilter) All() bool {
	return f.Version == "" && len(f.InstanceIDs) == 0 && len(f.Indices) == 0 && len(f.States) == 0
}

// Matches tells whether an instance is chosen.
func (f InstanceFilter) Matches(status InstanceStatus) bool {
	return f.AppID == status.AppID &&
		(f.Version == "" || f.Version == status.Version) &&
		holds(f.InstanceIDs, status.InstanceID) && holds(f.Indices, status.Index) && holds(f.States, status.State)
}

func holds[T comparable](wanted []T, value T) bool {
	return len(wanted) == 0 || slices.Contains(wanted, value)
}
