package render

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/durable-dea/dea/api"
)

// Files is a directory of an instance's.
type Files struct {
	InstanceID string `json:"instance_id"`
	Node       string `json:"node"`
	api.FileListing
}

// Files writes a directory's entries.
func (r Renderer) Files(f Files) error {
	return r.answer(f, func(out io.Writer) {
		if len(f.Entries) == 0 {
			_, _ = fmt.Fprintln(out, "The directory is empty.")
			return
		}
		rows := make([][]string, 0, len(f.Entries))
		for _, entry := range f.Entries {
			name, size := entry.Name, ""
			switch entry.Type {
			case api.FileTypeDirectory:
				name += "/"
			case api.FileTypeFile:
				size = strconv.FormatInt(entry.Size, 10)
			}
			rows = append(rows, []string{
				name, string(entry.Type), size, entry.Mode, entry.Modified.In(r.Now().Location()).Format(time.DateTime),
			})
		}
		table(out, []string{"NAME", "TYPE", "BYTES", "MODE", "MODIFIED"}, rows)
		if f.Truncated {
			_, _ = fmt.Fprintf(out, "(there are more: only %d are shown)\n", len(f.Entries))
		}
	})
}
