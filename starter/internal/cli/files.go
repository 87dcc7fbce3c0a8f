package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/cleantext"
	"github.com/durable-dea/dea/starter/internal/appfiles"
	"github.com/durable-dea/dea/starter/internal/render"
	"github.com/durable-dea/dea/starter/internal/tail"
	"github.com/durable-dea/dea/starter/internal/terminal"
)

// defaultTailLines is how many lines of a file --follow begins with.
const defaultTailLines = 10

// filesQuery is what of whose files is wanted.
type filesQuery struct {
	target
	path, bytes string
	follow      bool
	lines       int
}

func (s *session) filesCommand() *cobra.Command {
	var q filesQuery
	cmd := &cobra.Command{
		Use:   "files NAME INDEX [PATH]",
		Short: "Show the files of an instance",
		Long: `Shows what is at a path in the home directory of an app's instance, which has app/, logs/ and tmp/: a directory is
listed, and a file's content is written as it is, all of it or the part that --bytes names. With --follow it is the last
lines of a file and then what is written to it, until the instance ends or an interrupt; through truncation and rotation.

Of an index that several instances have it is the one that runs. With --instance it is the one of that id, and NAME and
INDEX are left out; of one that crashed the logs of the last crash are kept on its node for a while (crash_lifetime_secs, an
hour by default). A link is followed where it stays in the directory.

A file goes to standard output byte by byte, also with --output json; on a terminal escape sequences
other than colours are left out, and a file that is no text is not written. With --follow and --output json each line is an
object of its own.`,
		Example: `  starter files hello 0
  starter files hello 0 app
  starter files hello 1 logs/stderr.log --follow
  starter files hello 0 tmp/core.gz > core.gz
  starter files hello 0 logs/stdout.log --bytes -1000
  starter files --instance 0b5a6e0c-8d0e-4f0a-9a57-5d3f6a2c9f11 logs --output json | jq -r '.entries[].name'`,
		Args:              q.read,
		ValidArgsFunction: s.completeFiles,
		RunE: s.work(func(cmd *cobra.Command, _ []string) error {
			s.lines = q.follow
			if err := q.check(cmd); err != nil {
				return usageError{err}
			}
			return s.showFiles(cmd.Context(), q)
		}),
	}
	q.flag(cmd)
	f := cmd.Flags()
	f.StringVar(&q.bytes, "bytes", "", "only this `part` of a file: 0-99 for the first hundred bytes, 100- for the others, -100 for the last hundred")
	f.BoolVarP(&q.follow, "follow", "f", false, "show a file's last lines, and go on with what is written to it")
	f.IntVarP(&q.lines, "lines", "n", defaultTailLines, "`number` of lines to begin with, with --follow")
	return cmd
}

// read reads the arguments.
func (q *filesQuery) read(cmd *cobra.Command, args []string) error {
	which := q.arguments(cmd)
	names := slices.Concat(which, []string{"PATH"})
	if len(args) > len(names) || len(args) < len(names)-1 {
		return fmt.Errorf("it is used as %s NAME INDEX [PATH], or with --instance ID and [PATH] alone", cmd.CommandPath())
	}
	if err := notBlank(names, args); err != nil {
		return err
	}
	q.path = ""
	if len(args) == len(names) {
		q.path = args[len(args)-1]
	}
	return q.target.read(args[:len(which)])
}

// part is a range of bytes as --bytes takes it.
var part = regexp.MustCompile(`^([0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})$`)

// check checks the flags.
func (q *filesQuery) check(cmd *cobra.Command) error {
	switch changed := cmd.Flags().Changed; {
	case changed("bytes") && !part.MatchString(q.bytes):
		return fmt.Errorf("--bytes must be FIRST-LAST, FIRST- or -COUNT, not %q", q.bytes)
	case changed("bytes") && q.follow:
		return errors.New("--bytes is for a part that is there, and --follow for what comes: leave one out")
	case changed("lines") && !q.follow:
		return errors.New("--lines is where --follow begins: without it, a file is shown from its beginning")
	case q.lines < 1 || q.lines > maxLines:
		return fmt.Errorf("--lines must be from 1 to %d", maxLines)
	}
	return nil
}

func (s *session) showFiles(ctx context.Context, q filesQuery) error {
	c, err := s.open(ctx)
	if err != nil {
		return err
	}
	instance, err := q.find(ctx, c)
	if err != nil {
		return err
	}
	r := &appfiles.Reader{Controller: c, Files: s.files(), Warn: s.aside}
	if q.follow {
		return r.Follow(ctx, instance, q.path, q.lines, s.emitFile())
	}
	content, err := r.Open(ctx, instance, q.path, q.bytes)
	if err != nil {
		return err
	}
	defer content.Close()
	if content.Listing != nil {
		if q.bytes != "" {
			return usageError{errors.New("--bytes is for a file, and there is a directory: leave it out to list it")}
		}
		return s.render().Files(render.Files{InstanceID: instance.InstanceID, Node: instance.Node, FileListing: *content.Listing})
	}
	return s.writeFile(ctx, content)
}

// writeFile writes a file as it is, and to a terminal what is safe there.
func (s *session) writeFile(ctx context.Context, content *tail.Content) error {
	if !terminal.Is(s.process.Out) {
		return content.CopyTo(ctx, s.process.Out)
	}
	if !content.Text {
		return errors.New("the file is no text, which a terminal could take for commands: write it to a file, with `> FILE`")
	}
	out := &terminal.Writer{Out: s.process.Out}
	if err := content.CopyTo(ctx, out); err != nil {
		return err
	}
	return out.Close()
}

// emitFile writes a line of a file that is followed.
func (s *session) emitFile() func(string) {
	if s.format == render.JSON {
		encode := s.encode()
		return func(text string) { encode(textLine{text}) }
	}
	clean := func(text string) string { return text }
	if terminal.Is(s.process.Out) {
		clean = (&terminal.Painter{}).Line
	}
	return func(text string) { _, _ = io.WriteString(s.process.Out, clean(text)+"\n") }
}

// completeFiles offers apps, then the indices of the app's instances, then what is at the path as far as it is written.
func (s *session) completeFiles(cmd *cobra.Command, args []string, so string) ([]string, cobra.ShellCompDirective) {
	byID := cmd.Flags().Changed("instance")
	switch {
	case byID && len(args) == 0, !byID && len(args) == 2:
		return s.completePath(cmd, args, so)
	case byID || len(args) > 2:
		return nil, cobra.ShellCompDirectiveNoFileComp
	case len(args) == 0:
		return s.completeApps()(cmd, args, so)
	}
	instances := func(c *controller.Client, ctx context.Context) ([]api.InstanceStatus, error) {
		return c.FindInstances(ctx, api.InstanceFilter{AppID: args[0]})
	}
	return completeFirst(s, instances, func(i api.InstanceStatus) string { return strconv.Itoa(i.Index) })(cmd, nil, so)
}

// completePath offers the entries of the directory that a path is in.
func (s *session) completePath(cmd *cobra.Command, args []string, so string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	var q filesQuery
	q.id, _ = cmd.Flags().GetString("instance") // it is there, and a text
	if err := q.read(cmd, args); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := s.open(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	instance, err := q.find(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	above, _ := path.Split(so)
	r := &appfiles.Reader{Controller: c, Files: s.files(), Warn: s.aside}
	content, err := r.Open(ctx, instance, above, "")
	if err != nil || content.Listing == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return completions(above, so, *content.Listing)
}

// completions are the entries of a directory that a path may go on with; after a directory more is to follow.
func completions(above, so string, listing api.FileListing) ([]string, cobra.ShellCompDirective) {
	directive := cobra.ShellCompDirectiveNoFileComp
	var found []string
	for _, entry := range listing.Entries {
		name := above + entry.Name
		if !strings.HasPrefix(name, so) || strings.ContainsFunc(entry.Name, cleantext.Steers) {
			continue
		}
		if entry.Type == api.FileTypeDirectory {
			name += "/"
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		found = append(found, name)
	}
	return found, directive
}
