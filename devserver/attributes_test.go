package main

import (
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/api"
)

// everyAttribute sets each search attribute.
func everyAttribute() temporal.SearchAttributes {
	return temporal.NewSearchAttributes(
		api.SearchApp.ValueSet("app"), api.SearchVersion.ValueSet("v1"), api.SearchNode.ValueSet("n1"),
		api.SearchZone.ValueSet("z1"), api.SearchState.ValueSet("RUNNING"), api.SearchKind.ValueSet("instance"),
		api.SearchIndex.ValueSet(1), api.SearchFreeMemory.ValueSet(1), api.SearchFreeDisk.ValueSet(1),
		api.SearchStacks.ValueSet([]string{"s1"}),
	)
}
