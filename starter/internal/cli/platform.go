package cli

import (
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/starter/internal/render"
)

func (s *session) setupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "setup",
		Short: "Make a Temporal namespace ready for the platform",
		Long: `Makes the search attributes that the platform needs in the configured Temporal namespace, which must exist, and
waits until they can be used. What is there already stays. devserver does this by itself.`,
		Example:           "  starter setup --temporal-address 10.0.0.5:7233 --temporal-namespace dea",
		Args:              nothing(),
		ValidArgsFunction: completeNothing,
		RunE: s.work(func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.configuration()
			if err != nil {
				return err
			}
			c, err := s.connect(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if err := c.Setup(cmd.Context()); err != nil {
				return err
			}
			done := render.Setup{Namespace: cfg.Temporal.Namespace}
			for _, key := range api.SearchAttributes() {
				done.SearchAttributes = append(done.SearchAttributes, key.GetName())
			}
			return s.render().Setup(done)
		}),
	}
}

func (s *session) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Show this program's version",
		Long:              "Shows which version of the starter this is, from which commit and with which Go it was built.",
		Example:           "  starter version --output json",
		Args:              nothing(),
		ValidArgsFunction: completeNothing,
		RunE: s.work(func(*cobra.Command, []string) error {
			return s.render().Version(version())
		}),
	}
}

// version is what the Go tool chain has written into the program.
func version() render.Version {
	v := render.Version{Version: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version, v.Go = info.Main.Version, info.GoVersion
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			v.Commit = setting.Value
		}
	}
	return v
}
