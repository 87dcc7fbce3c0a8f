package benchmark

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Row is one measurement. Value, Floor and Bar are in Unit.
type Row struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
	// Floor is what the same work takes by the shortest way there is, measured in the same run.
	Floor float64 `json:"floor"`
	// Ratio is Value to Floor.
	Ratio float64 `json:"ratio"`
	// Bar is what Value must not miss; nil when the project has set none.
	Bar *float64 `json:"bar"`
	// OK says that Value does not miss Bar.
	OK bool `json:"ok"`
	Origin
}

// Origin is where and when a row was measured, and of what.
type Origin struct {
	Machine string `json:"machine"`
	Commit  string `json:"commit"`
	// Date is the day, UTC.
	Date string `json:"date"`
}

// Bar says what a value must not miss.
type Bar struct {
	limit   *float64
	reached func(value, limit float64) bool
}

// NoBar is for what is only watched.
func NoBar() Bar { return Bar{} }

// AtMost is for values of which less is better.
func AtMost(limit float64) Bar {
	return Bar{&limit, func(value, limit float64) bool { return value <= limit }}
}

// AtLeast is for values of which more is better.
func AtLeast(limit float64) Bar {
	return Bar{&limit, func(value, limit float64) bool { return value >= limit }}
}

// Make makes a row without its origin, with figures of three significant digits: more of them would only be noise.
func Make(name, unit string, value, floor float64, bar Bar) Row {
	row := Row{Name: name, Unit: unit, Value: round(value), Floor: round(floor), Bar: bar.limit, OK: true}
	if floor > 0 {
		row.Ratio = round(value / floor)
	}
	if bar.limit != nil {
		row.OK = bar.reached(value, *bar.limit)
	}
	return row
}

func round(x float64) float64 {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	scale := math.Pow(10, 2-math.Floor(math.Log10(math.Abs(x))))
	return math.Round(x*scale) / scale
}

// Save puts rows into a file: a row replaces the one of its name, and the others stay. The file is whole at any moment.
func Save(path string, origin Origin, rows []Row) error {
	kept, err := Load(path)
	if err != nil {
		return err
	}
	for _, row := range rows {
		row.Origin = origin
		kept = slices.DeleteFunc(kept, func(r Row) bool { return r.Name == row.Name })
		kept = append(kept, row)
	}
	slices.SortFunc(kept, func(a, b Row) int { return cmp.Compare(a.Name, b.Name) })
	content, err := json.MarshalIndent(kept, "", "  ")
	if err != nil {
		return fmt.Errorf("write the benchmarks: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a directory of the repository
		return fmt.Errorf("write the benchmarks: %w", err)
	}
	part := path + ".part"
	if err := os.WriteFile(part, append(content, '\n'), 0o644); err != nil { //nolint:gosec // a file of the repository
		return fmt.Errorf("write the benchmarks: %w", err)
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("write the benchmarks: %w", err)
	}
	return nil
}

// Load reads the rows of a file; none when there is no file.
func Load(path string) ([]Row, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the benchmarks: %w", err)
	}
	var rows []Row
	if err := json.Unmarshal(content, &rows); err != nil {
		return nil, fmt.Errorf("read the benchmarks in %s: %w", path, err)
	}
	return rows, nil
}

// Median is the middle one of some durations, in milliseconds; 0 of none.
func Median(durations []time.Duration) float64 {
	if len(durations) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(durations))
	return float64(sorted[len(sorted)/2]) / float64(time.Millisecond)
}
