package api_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
)

func TestChoice(t *testing.T) {
	golang, ruby := api.AdminBuildpack{Key: "go", URL: "http://cc/go"}, api.AdminBuildpack{Key: "ruby", URL: "http://cc/ruby"}
	git := &api.GitSource{URL: "https://h/b.git", Ref: "v1"}
	for name, test := range map[string]struct {
		asked api.StagingProperties
		want  api.BuildpackChoice
	}{
		"detection": {api.StagingProperties{}, api.BuildpackChoice{
			Detect: true, Buildpacks: []api.ChosenBuildpack{{Admin: golang}, {Admin: ruby}},
		}},
		"an empty list is detection": {api.StagingProperties{Buildpacks: []string{}}, api.BuildpackChoice{
			Detect: true, Buildpacks: []api.ChosenBuildpack{{Admin: golang}, {Admin: ruby}},
		}},
		"a key": {api.StagingProperties{BuildpackKey: "ruby"}, api.BuildpackChoice{Buildpacks: []api.ChosenBuildpack{{Admin: ruby}}}},
		"a URL": {api.StagingProperties{Buildpack: "https://h/b.git#v1"}, api.BuildpackChoice{Buildpacks: []api.ChosenBuildpack{{Git: git}}}},
		"a URL by its other name": {
			api.StagingProperties{BuildpackGitURL: "https://h/b.git#v1"}, api.BuildpackChoice{Buildpacks: []api.ChosenBuildpack{{Git: git}}},
		},
		"one URL by both names": {
			api.StagingProperties{Buildpack: "https://h/b.git#v1", BuildpackGitURL: "https://h/b.git#v1"},
			api.BuildpackChoice{Buildpacks: []api.ChosenBuildpack{{Git: git}}},
		},
		"several, in their order": {
			api.StagingProperties{Buildpacks: []string{"ruby", "https://h/b.git#v1", "go"}},
			api.BuildpackChoice{Buildpacks: []api.ChosenBuildpack{{Admin: ruby}, {Git: git}, {Admin: golang}}},
		},
		"a list of one": {
			api.StagingProperties{Buildpacks: []string{"go"}}, api.BuildpackChoice{Buildpacks: []api.ChosenBuildpack{{Admin: golang}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := request()
			r.AdminBuildpacks, r.Properties = []api.AdminBuildpack{golang, ruby}, test.asked
			require.NoError(t, r.Validate())
			require.Equal(t, test.want, r.Choice())
		})
	}
	r := request()
	r.AdminBuildpacks = nil
	require.NoError(t, r.Validate(), "what can't be detected is a failure of the staging")
	require.Equal(t, api.BuildpackChoice{Detect: true}, r.Choice())
}

func TestChoicesThatCannotBe(t *testing.T) {
	many := make([]string, 33)
	for i := range many {
		many[i] = fmt.Sprintf("https://h/%d", i)
	}
	const secret = "https://u:" + hush + "@h/b"
	for words, asked := range map[string]api.StagingProperties{
		"buildpack_git_url is another one":                               {Buildpack: secret, BuildpackGitURL: secret + "c"},
		"buildpack_key cannot stand beside":                              {BuildpackGitURL: secret, BuildpackKey: "go"},
		"buildpacks cannot stand beside another":                         {Buildpack: secret, Buildpacks: []string{"go"}},
		"properties.buildpacks cannot stand":                             {BuildpackKey: "go", Buildpacks: []string{"go"}},
		"properties.buildpack must be a git URL":                         {Buildpack: hush},
		"properties.buildpack_git_url must be a git URL":                 {BuildpackGitURL: "ext::" + hush},
		"buildpack_key names none of":                                    {BuildpackKey: hush},
		"buildpacks has 33 buildpacks, more than 32":                     {Buildpacks: many},
		"buildpacks[1] is missing":                                       {Buildpacks: []string{"go", " "}},
		"buildpacks[1] must be a git URL":                                {Buildpacks: []string{"go", secret + "#-x"}},
		"buildpacks[0] names none of admin_buildpacks and is no git URL": {Buildpacks: []string{hush}},
		"buildpacks[2] is there twice":                                   {Buildpacks: []string{"go", "https://h/b", "go"}},
	} {
		r := request()
		r.Properties = asked
		refused(t, r.Validate(), words)
	}
}
