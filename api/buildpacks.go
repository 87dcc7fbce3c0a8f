package api

import "cmp"

// maxChosen bounds how many buildpacks may run for one app; Cloud Foundry users have two or three.
const maxChosen = 32

// BuildpackChoice says which buildpacks a staging may use.
type BuildpackChoice struct {
	// Detect is set when the first of them that fits the app builds it. Else all of them run, in their order.
	Detect bool
	// Buildpacks are in the order of detection or of running. They are empty when the app is to be detected and the
	// operator has no buildpack.
	Buildpacks []ChosenBuildpack
}

// ChosenBuildpack is one buildpack of a choice.
type ChosenBuildpack struct {
	// Admin is the operator's buildpack; zero when Git is set.
	Admin AdminBuildpack
	// Git is where a custom buildpack is; nil for one of the operator's.
	Git *GitSource
}

// Choice is which buildpacks the request asks for. The request must be valid.
func (r StagingRequest) Choice() BuildpackChoice {
	named := r.namedBuildpacks()
	if len(named) == 0 {
		choice := BuildpackChoice{Detect: true}
		for _, b := range r.AdminBuildpacks {
			choice.Buildpacks = append(choice.Buildpacks, ChosenBuildpack{Admin: b})
		}
		return choice
	}
	var choice BuildpackChoice
	for _, name := range named {
		if admin, known := r.adminBuildpack(name); known {
			choice.Buildpacks = append(choice.Buildpacks, ChosenBuildpack{Admin: admin})
		} else if source, err := ParseGitSource(name); err == nil {
			choice.Buildpacks = append(choice.Buildpacks, ChosenBuildpack{Git: &source})
		}
	}
	return choice
}

// namedBuildpacks are the buildpacks that the user named, by key or git URL.
func (r StagingRequest) namedBuildpacks() []string {
	p := r.Properties
	if one := cmp.Or(p.Buildpack, p.BuildpackGitURL, p.BuildpackKey); one != "" {
		return []string{one}
	}
	return p.Buildpacks
}

func (r StagingRequest) adminBuildpack(key string) (AdminBuildpack, bool) {
	for _, b := range r.AdminBuildpacks {
		if b.Key == key {
			return b, true
		}
	}
	return AdminBuildpack{}, false
}
