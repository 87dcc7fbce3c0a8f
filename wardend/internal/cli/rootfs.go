package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/rootfs"
)

// errUnusable: rootfs check has said on standard output why.
var errUnusable = errors.New("this cannot be a rootfs")

// outputFlag is how the rootfs commands answer.
type outputFlag string

const (
	outputText outputFlag = "text"
	outputJSON outputFlag = "json"
)

func (o *outputFlag) String() string { return string(*o) }

func (o *outputFlag) Type() string { return "format" }

func (o *outputFlag) Set(s string) error {
	if s != string(outputText) && s != string(outputJSON) {
		return errors.New("give text or json")
	}
	*o = outputFlag(s)
	return nil
}

func newRootfs(stderr io.Writer) *cobra.Command {
	output := outputText
	cmd := &cobra.Command{
		Use:   "rootfs",
		Short: "Make or check the root directory of containers",
		Long: `A rootfs is a directory with the programs that containers have. wardend never changes one: each container sees it
beneath an overlay of its own.`,
		Example: `  wardend rootfs host /var/lib/wardend/rootfs/host
  wardend rootfs debian /var/lib/wardend/rootfs/bookworm
  wardend rootfs check /var/lib/wardend/rootfs/cflinuxfs4`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().VarP(&output, "output", "o", "how to answer: text or json")
	// It fails for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]cobra.Completion{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.AddCommand(newRootfsHost(stderr, &output), newRootfsDebian(stderr, &output), newRootfsCheck(&output))
	return cmd
}

func newRootfsHost(stderr io.Writer, output *outputFlag) *cobra.Command {
	var o rootfs.HostOptions
	cmd := &cobra.Command{
		Use:   "host DIR",
		Short: "Make a rootfs of this machine's own programs, for development",
		Long: `Makes DIR a rootfs of this machine's /usr, libraries and certificates, with a user vcap (2000:2000). It holds nothing
that not everybody on this machine may read: no accounts, keys or configuration of services, nothing of /home, /root,
/opt and /var, no devices, no set-uid bits or capabilities.

On the file system of /usr this takes seconds and no room: files get a second name in DIR (hard links). Containers
cannot change them, and package managers replace files, which leaves the old ones in DIR until this is run again.
But DO NOT change files in DIR, their owners or modes yourself: they are the machine's own. Removing DIR is safe;
--copy makes files of its own. Elsewhere files are reflinked or copied.

DIR must be new, empty, or made by this command, which makes it again. Destroy the containers that run on it before.
Root only.`,
		Example: `  wardend rootfs host /var/lib/wardend/rootfs/host
  wardend rootfs host /srv/rootfs --include /opt/node --exclude /usr/share/doc --exclude '/usr/lib/jvm/*'`,
		Args: cobra.ExactArgs(1), SilenceUsage: true, SilenceErrors: true,
		ValidArgsFunction: completeDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Dir = args[0]
			bar := &making{to: stderr, start: time.Now()}
			o.Progress = bar.tell
			return untilSignal(cmd, func(ctx context.Context) error {
				sum, err := rootfs.Host(ctx, o)
				bar.end()
				return answerSummary(cmd.OutOrStdout(), *output, sum, err)
			})
		},
	}
	cmd.Flags().StringArrayVar(&o.Include, "include", nil, "one more `DIR` of this machine, such as /opt/x; may be repeated")
	cmd.Flags().StringArrayVar(&o.Exclude, "exclude", nil, "`PATH` of this machine that is left out, or a pattern; may be repeated")
	cmd.Flags().BoolVar(&o.Copy, "copy", false, "copy all files, link none")
	return cmd
}

func newRootfsDebian(stderr io.Writer, output *outputFlag) *cobra.Command {
	var o rootfs.DebianOptions
	cmd := &cobra.Command{
		Use:   "debian DIR",
		Short: "Make a rootfs of Debian, with debootstrap",
		Long: fmt.Sprintf(`Makes DIR a small Debian system with a user vcap (2000:2000) and, beside Debian's smallest set of packages:
%s.

It needs the program debootstrap, a mirror that it can reach, and the keys of the release's signatures (on Debian the
package debian-archive-keyring). It takes minutes. DIR must be new, empty, or made by this command, which makes it
again. Root only.`, strings.Join(rootfs.DebianPackages(), ", ")),
		Example: `  wardend rootfs debian /var/lib/wardend/rootfs/bookworm
  wardend rootfs debian /srv/trixie --suite trixie --include procps,file --mirror https://mirror.example.com/debian`,
		Args: cobra.ExactArgs(1), SilenceUsage: true, SilenceErrors: true,
		ValidArgsFunction: completeDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Dir, o.Output = args[0], stderr
			return untilSignal(cmd, func(ctx context.Context) error {
				sum, err := rootfs.Debian(ctx, o)
				return answerSummary(cmd.OutOrStdout(), *output, sum, err)
			})
		},
	}
	cmd.Flags().StringVar(&o.Suite, "suite", rootfs.DefaultSuite, "code `NAME` of the release")
	cmd.Flags().StringVar(&o.Mirror, "mirror", "", "`URL` to get packages from (default: debootstrap's own)")
	cmd.Flags().StringSliceVar(&o.Include, "include", nil, "more `PACKAGES`, comma separated")
	return cmd
}

func newRootfsCheck(output *outputFlag) *cobra.Command {
	return &cobra.Command{
		Use:   "check DIR[:DIR...]",
		Short: "Say whether directories can be a rootfs",
		Long: `Looks at one directory, or at a list of layers as containers are made with, the uppermost first, and says what a
container would find there: its users, its shell, its directories. Nothing is run, changed or mounted.

The exit status is 0 when it can be a rootfs (there may be warnings), else 1.`,
		Example: `  wardend rootfs check /var/lib/wardend/rootfs/cflinuxfs4
  wardend rootfs check /var/lib/app/droplet:/var/lib/wardend/rootfs/cflinuxfs4 --output json`,
		Args: cobra.ExactArgs(1), SilenceUsage: true, SilenceErrors: true,
		ValidArgsFunction: completeDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			layers, err := absolute(strings.Split(args[0], ":"))
			if err != nil {
				return err
			}
			report, err := rootfs.Check(layers)
			if err != nil {
				return err
			}
			return answerReport(cmd.OutOrStdout(), *output, report)
		},
	}
}

func completeDirectory(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func absolute(dirs []string) ([]string, error) {
	for i, dir := range dirs {
		if dir == "" {
			return nil, errors.New("a layer has no name: give DIR or DIR:DIR")
		}
		at, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		dirs[i] = at
	}
	return dirs, nil
}

// untilSignal does what is cleaned up after when the user gives up.
func untilSignal(cmd *cobra.Command, do func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	err := do(ctx)
	if err != nil && ctx.Err() != nil {
		return errors.New("stopped; nothing was made")
	}
	return err
}

func writeJSON(to io.Writer, value any) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func answerSummary(to io.Writer, output outputFlag, sum *rootfs.Summary, err error) error {
	if err != nil {
		return err
	}
	if output == outputJSON {
		return writeJSON(to, sum)
	}
	fmt.Fprintf(to, "%s is a rootfs: %d files, %d directories, %d links, made in %.1f s\n", sum.Dir, sum.Files, sum.Directories, sum.Symlinks, sum.Seconds)
	fmt.Fprintf(to, "  %s shared by hard links, %s by reflinks, %s copied\n", amount(sum.Bytes.Linked), amount(sum.Bytes.Reflinked), amount(sum.Bytes.Copied))
	for _, n := range sum.Changed {
		fmt.Fprintf(to, "  %s: %s\n", n.Reason, named(n))
	}
	for _, n := range sum.LeftOut {
		fmt.Fprintf(to, "  left out, %s: %s\n", n.Reason, named(n))
	}
	for _, warning := range sum.Warnings {
		fmt.Fprintf(to, "  warning: %s\n", warning)
	}
	fmt.Fprintf(to, "use it: wardend --rootfs %s\n", sum.Dir)
	return nil
}

func named(n rootfs.Noted) string {
	words := fmt.Sprintf("%d (%s", n.Count, strings.Join(n.Examples, ", "))
	if n.Count > uint64(len(n.Examples)) {
		words += ", ..."
	}
	return words + ")"
}

func amount(bytes uint64) string {
	const unit = 1 << 10
	value, names := float64(bytes), "KMGT"
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	i := -1
	for value >= unit && i < len(names)-1 {
		value /= unit
		i++
	}
	return fmt.Sprintf("%.1f %cB", value, names[i])
}

func answerReport(to io.Writer, output outputFlag, report *rootfs.Report) error {
	if output == outputJSON {
		if err := writeJSON(to, report); err != nil {
			return err
		}
	} else {
		table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0) //nolint:mnd // blanks between columns
		for _, f := range report.Findings {
			fmt.Fprintf(table, "%s\t%s\t%s\n", f.Status, f.What, f.Detail)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	if !report.Usable {
		return fmt.Errorf("%s: %w", strings.Join(report.Layers, ":"), errUnusable)
	}
	return nil
}
