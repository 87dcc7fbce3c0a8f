// Command histories records workflow histories for the replay tests of package workflows.
//
//	go run ./integration/histories --config DATA/client.yml --out workflows/testdata/N NAME=WORKFLOW-ID ...
//
// Each NAME becomes the file NAME.json. What is encrypted is decrypted with the installation's key, so that the tests
// need none, and passwords in URLs are taken out. Record from a stack that is thrown away afterwards.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/proxy"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/internal/connection"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "histories:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	flags := pflag.NewFlagSet("histories", pflag.ContinueOnError)
	from := flags.String("config", "", "the client's configuration, as devserver writes it")
	out := flags.String("out", ".", "the directory that the files go to")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	settings, err := config.LoadClient(config.LoadOptions{File: *from})
	if err != nil {
		return err
	}
	ring, err := codec.LoadKeyring(settings.Temporal.EncryptionKeyFile)
	if err != nil {
		return err
	}
	temporal, err := connection.Dial(ctx, settings.Temporal, hclog.NewNullLogger())
	if err != nil {
		return err
	}
	defer temporal.Close()
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	var failed []error
	for _, pair := range flags.Args() {
		name, workflow, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=WORKFLOW-ID", pair)
		}
		if err := record(ctx, temporal, ring, workflow, filepath.Join(*out, name+".json")); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", workflow, err))
		}
	}
	return errors.Join(failed...)
}

func record(ctx context.Context, temporal client.Client, ring *codec.Keyring, workflow, file string) error {
	history := &historypb.History{}
	events := temporal.GetWorkflowHistory(ctx, workflow, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return err
		}
		history.Events = append(history.Events, event)
	}
	err := proxy.VisitPayloads(ctx, history, proxy.VisitPayloadsOptions{
		Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
			decoded, err := ring.Codec().Decode(payloads)
			for _, payload := range decoded {
				payload.Data = password.ReplaceAll(payload.GetData(), []byte("://$1:secret@"))
			}
			return decoded, err
		},
	})
	if err != nil {
		return fmt.Errorf("decrypt: %w", err)
	}
	text, err := protojson.MarshalOptions{Indent: " "}.Marshal(history)
	if err != nil {
		return err
	}
	text = identity.ReplaceAll(text, []byte(`"identity": "recorded"`))
	text = sticky.ReplaceAll(text, []byte(`"name": "recorded:$1"`))
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// identity finds who did something: a process, and the machine that the recording was made on.
var identity = regexp.MustCompile(`"identity":\s*"[^"]*"`)

// sticky finds the name of a worker's own queue, which begins with the machine's.
var sticky = regexp.MustCompile(`"name":\s*"[^":]+:([0-9a-f-]{36})"`)

// password finds the basic auth of a URL.
var password = regexp.MustCompile(`://([^:/@"]+):[^/@"]+@`)
