package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/durable-dea/dea/internal/execwire"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/starter/internal/remote"
	"github.com/durable-dea/dea/starter/internal/render"
	"github.com/durable-dea/dea/starter/internal/terminal"
)

// execQuery is what is to be run where.
type execQuery struct {
	target
	command    []string
	identity   string
	tty, noTTY bool
}

func (s *session) execCommand() *cobra.Command {
	var q execQuery
	cmd := &cobra.Command{
		Use:   "exec NAME INDEX [-- COMMAND...]",
		Short: "Run a command in an instance",
		Long: `Runs a command in the container of an app's instance, as the app's user, in the app's directory and with its
environment; without a command, a shell. Where standard input and output are a terminal the command has one, too. The
command ends with this program, and with it all that it has begun.

Its exit status is this program's, 128 and more where a signal ended it. Where it could not be run, the status is one of
those that "starter help" lists; 255 says that the session was cut off.

The operator of the instance's node says who may: by public keys, of which those in the agent and in ~/.ssh are shown unless
--identity or exec_identity in the configuration names one. So does "ssh -p PORT INSTANCE-ID@NODE", as docs/exec.md tells.`,
		Example: `  starter exec hello 0
  starter exec hello 0 -- ps -ef
  starter exec hello 1 -- bash -c 'echo $PORT'
  starter exec hello 0 -- tar cz logs > logs.tgz`,
		Args: q.read,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, so string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 1 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return s.completeFiles(cmd, args, so)
		},
		RunE: s.work(func(cmd *cobra.Command, _ []string) error {
			if s.format == render.JSON {
				return usageError{errors.New("exec writes what the command writes: leave --output json out")}
			}
			return s.exec(cmd.Context(), q)
		}),
	}
	q.flag(cmd)
	f := cmd.Flags()
	f.StringVar(&q.identity, "identity", "", "the private key's `file`")
	f.BoolVarP(&q.tty, "tty", "t", false, "have a terminal there although there is none here")
	f.BoolVarP(&q.noTTY, "no-tty", "T", false, "have none there although there is one here")
	cmd.MarkFlagsMutuallyExclusive("tty", "no-tty")
	return cmd
}

// read reads the arguments. What comes after -- is the command.
func (q *execQuery) read(cmd *cobra.Command, args []string) error {
	at := cmd.ArgsLenAtDash()
	if at < 0 {
		at = len(args)
	}
	where := args[:at]
	q.command = args[at:]
	line := q.line()
	if !utf8.ValidString(line) {
		return errors.New("the command is not UTF-8: what is not goes to its standard input, or is written as $'\\xNN' for a shell there")
	}
	if len(line) > execwire.MaxLine {
		return fmt.Errorf("the command has more than %d bytes: what is long goes to its standard input", execwire.MaxLine)
	}
	names := q.arguments(cmd)
	if len(where) != len(names) {
		return fmt.Errorf("it is used as %s NAME INDEX [-- COMMAND...], or with --instance ID instead of both", cmd.CommandPath())
	}
	if err := notBlank(names, where); err != nil {
		return err
	}
	return q.target.read(where)
}

// line is the command for a shell, each argument a word.
func (q *execQuery) line() string {
	words := make([]string, 0, len(q.command))
	for _, word := range q.command {
		words = append(words, runspec.Quote(word))
	}
	return strings.Join(words, " ")
}

func (s *session) exec(ctx context.Context, q execQuery) error {
	c, err := s.open(ctx)
	if err != nil {
		return err
	}
	cfg, err := s.configuration()
	if err != nil {
		return err
	}
	instance, err := q.find(ctx, c)
	if err != nil {
		return err
	}
	if instance.State.Ended() || instance.Node == "" {
		return fmt.Errorf("instance %s does not run: it is %s", instance.InstanceID, instance.State)
	}
	node, err := c.Node(ctx, instance.Node)
	if err != nil {
		return err
	}
	if q.identity == "" {
		q.identity = cfg.ExecIdentity
	}
	return remote.Run(ctx, remote.Options{
		Instance: instance, Node: node, Line: q.line(), Identity: q.identity,
		Terminal: q.tty || !q.noTTY && terminal.Is(s.process.In) && terminal.Is(s.process.Out),
		In:       s.process.In, Out: s.process.Out, Err: s.process.Err,
	})
}
