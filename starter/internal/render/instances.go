package render

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
)

// Instances writes a list of instances; none is what there is to say where it is empty.
func (r Renderer) Instances(instances []api.InstanceStatus, none string) error {
	if instances == nil {
		instances = []api.InstanceStatus{} // an empty list in JSON, not null
	}
	return r.answer(map[string]any{"instances": instances}, func(out io.Writer) {
		if len(instances) == 0 {
			_, _ = fmt.Fprintln(out, none)
			return
		}
		r.instances(out, instances)
	})
}

// Instance writes one instance.
func (r Renderer) Instance(i api.InstanceStatus) error {
	return r.answer(i, func(out io.Writer) { r.instances(out, []api.InstanceStatus{i}) })
}

func (r Renderer) instances(out io.Writer, instances []api.InstanceStatus) {
	rows := make([][]string, 0, len(instances))
	for _, i := range instances {
		rows = append(rows, []string{
			strconv.Itoa(i.Index), state(i), age(r.Now(), i.Since), address(i), i.Node, i.Version, i.InstanceID, exit(i.Exit),
		})
	}
	table(out, []string{"INDEX", "STATE", "FOR", "ADDRESS", "NODE", "VERSION", "INSTANCE", "EXIT"}, rows)
}

// Change writes what has become of an instance, as one line: an object for programs.
func (r Renderer) Change(i controller.Change) error {
	if r.Format == JSON {
		return r.Line(i)
	}
	words := []string{i.Since.In(r.Now().Location()).Format(time.TimeOnly), fmt.Sprintf("[%d]", i.Index), state(i.InstanceStatus)}
	if at := address(i.InstanceStatus); at != "" {
		words = append(words, at)
	}
	if i.Node != "" {
		words = append(words, "on "+i.Node)
	}
	words = append(words, i.InstanceID)
	if len(i.URIs) > 0 {
		words = append(words, "routes "+strings.Join(i.URIs, ", "))
	}
	if i.Exit != nil {
		words = append(words, "("+exit(i.Exit)+")")
	}
	if i.Missed {
		words = append(words, "(what happened before it may be missing)")
	}
	if _, err := fmt.Fprintln(r.Out, oneLine(strings.Join(words, " "))); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// state is an instance's, with what one that runs lacks.
func state(i api.InstanceStatus) string {
	if i.Unready {
		return string(i.State) + " (not ready)"
	}
	return string(i.State)
}

// address is where an instance that lives answers.
func address(i api.InstanceStatus) string {
	if i.Address == "" || !i.State.Alive() {
		return ""
	}
	return "http://" + i.Address
}
