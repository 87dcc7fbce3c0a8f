package benchmark

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Show writes rows as a table for a person.
func Show(w io.Writer, rows []Row) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVALUE\tFLOOR\tRATIO\tBAR\tUNIT\t")
	for _, row := range rows {
		bar, verdict := "-", ""
		if row.Bar != nil {
			bar, verdict = fmt.Sprint(*row.Bar), "ok"
		}
		if !row.OK {
			verdict = "MISSED"
		}
		fmt.Fprintf(table, "%s\t%v\t%v\t%v\t%s\t%s\t%s\n", row.Name, row.Value, row.Floor, row.Ratio, bar, row.Unit, verdict)
	}
	return table.Flush()
}
