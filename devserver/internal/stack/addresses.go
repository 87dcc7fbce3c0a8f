package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"

	"go.yaml.in/yaml/v4"
)

// Addresses are where everything answers: what is printed, and kept in devserver.json.
type Addresses struct {
	// Temporal is host:port of the gRPC API.
	Temporal string `json:"temporal"`
	UI       string `json:"ui"`
	Codec    string `json:"codec"`
	// CloudController is a URL without credentials: those stand in Config alone.
	CloudController string `json:"cloud_controller"`
	// Router is the URL of the routing proxy, by which apps are reached at the hosts that are their routes.
	Router string `json:"router"`
	// NATS is host:port.
	NATS  string        `json:"nats"`
	Nodes []NodeAddress `json:"nodes"`
	// Config is the client's configuration file, Data the directory of everything.
	Config string `json:"config"`
	Data   string `json:"data"`
}

// NodeAddress is where a node answers.
type NodeAddress struct {
	ID           string `json:"id"`
	WardenSocket string `json:"warden_socket"`
	FilesURL     string `json:"files_url"`
	// WorkerPID and WardendPID are the processes at the time of printing; each restart changes them.
	WorkerPID  int `json:"worker_pid"`
	WardendPID int `json:"wardend_pid"`
}

// WriteJSON writes the addresses as one line.
func (a Addresses) WriteJSON(out io.Writer) error { return json.NewEncoder(out).Encode(a) }

// WriteText writes the addresses for people.
func (a Addresses) WriteText(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "Durable DEA is ready.")
	fmt.Fprintf(table, "  Temporal\t%s\n", a.Temporal)
	fmt.Fprintf(table, "  Temporal UI\t%s\n", a.UI)
	fmt.Fprintf(table, "  codec server\t%s\n", a.Codec)
	fmt.Fprintf(table, "  cloud controller\t%s\n", a.CloudController)
	fmt.Fprintf(table, "  apps\t%s, each at its own name beneath it\n", a.Router)
	for i, node := range a.Nodes {
		fmt.Fprintf(table, "  node %d\t%s, warden at %s\n", i+1, node.ID, node.WardenSocket)
	}
	fmt.Fprintf(table, "  data\t%s\n", a.Data)
	fmt.Fprintf(table, "Push an app:\n  starter --config %s push DIR --name NAME\n", a.Config)
	fmt.Fprintln(table, "Ctrl-C ends all of it, containers included.")
	return table.Flush()
}

func (a Addresses) save(file string) error {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("write the addresses: %w", err)
	}
	return replace(file, append(text, '\n'))
}

// saveClient writes the configuration that starter takes with --config.
func saveClient(file string, at Addresses, keyFile, cloudController, execIdentity string) error {
	text, err := yaml.Marshal(map[string]any{
		"temporal":      map[string]any{"address": at.Temporal, "namespace": namespace, "encryption_key_file": keyFile},
		"cc_url":        cloudController,
		"router_url":    at.Router,
		"exec_identity": execIdentity,
	})
	if err != nil {
		return fmt.Errorf("write the client's configuration: %w", err)
	}
	return replace(file, text)
}

// replace writes a file whole or not at all, for its owner alone.
func replace(file string, text []byte) error {
	part := file + ".part"
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Rename(part, file); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// remove removes a file that may be gone already.
func remove(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", file, err)
	}
	return nil
}
