package node

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/durable-dea/dea/config"
)

// WorkerOptions are what the worker's dea.yml says beside the paths of the node.
type WorkerOptions struct {
	// MemoryMB and DiskMB are what the node gives out.
	MemoryMB, DiskMB int64
	// Stack is the name of the one stack, RootFS its root file system's directory, empty to leave it to Warden.
	Stack, RootFS string
	// Files is host:port of the directory server.
	Files string
	// CloudController is the URL to which finished stagings are reported, with credentials.
	CloudController string
	// NATS is the URL by which routers hear of the instances, with credentials.
	NATS config.URL
	// Temporal is host:port, Namespace the namespace there, KeyFile what all in it is encrypted with.
	Temporal, Namespace, KeyFile string
	// ExecKeys is the file of those who may run commands in instances.
	ExecKeys string
	LogLevel string
}

// workerEnvironment is this process's environment without what a worker takes for its configuration: that goes over
// dea.yml, and who has it set means another installation.
func workerEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "TEMPORAL_") || strings.HasPrefix(variable, "DEA_")
	})
}

// writeConfig writes dea.yml, anew at each start: addresses may have changed. It holds the passwords of the cloud
// controller and of NATS, so nobody else may read it.
func (n *Node) writeConfig() error {
	o := n.options.Worker
	stack := map[string]any{"name": o.Stack}
	if o.RootFS != "" {
		stack["package_path"] = o.RootFS
	}
	text, err := yaml.Marshal(map[string]any{
		"nats_servers":     []string{o.NATS.Reveal()},
		"base_dir":         n.base(),
		"logging":          map[string]any{"level": o.LogLevel},
		"resources":        map[string]any{"memory_mb": o.MemoryMB, "disk_mb": o.DiskMB},
		"warden_socket":    n.options.Socket,
		"stacks":           []any{stack},
		"directory_server": map[string]any{"listen": o.Files},
		"exec":             map[string]any{"listen": "127.0.0.1:0", "authorized_keys": o.ExecKeys},
		"cc_url":           o.CloudController,
		// What a developer's drain leads to is on this machine.
		"drains": map[string]any{"allowed_networks": []string{"127.0.0.0/8", "::1/128"}},
		"index":  n.options.Number - 1,
		"runner": n.options.Programs.Runner,
		"temporal": map[string]any{
			"address": o.Temporal, "namespace": o.Namespace, "encryption_key_file": o.KeyFile,
		},
	})
	if err != nil {
		return fmt.Errorf("write the configuration of node %d: %w", n.options.Number, err)
	}
	if err := os.WriteFile(n.config(), text, 0o600); err != nil {
		return fmt.Errorf("write the configuration of node %d: %w", n.options.Number, err)
	}
	return nil
}
