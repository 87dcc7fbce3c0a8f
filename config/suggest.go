package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// retired are keys that dea_ng knew and a node of today has no use for, with what to do about each.
func retired() map[string]string {
	return map[string]string{
		"pid_filename":                       "is not used any more: whatever starts the worker keeps track of its process",
		"nats_uri":                           "is not used any more: nats_servers is a list of such addresses",
		"loggregator":                        "is not used any more: the directory server serves the logs",
		"dea_ruby":                           "is not used any more: staging needs no Ruby",
		"ssl":                                "is not used any more: requests come over Temporal, see temporal.tls",
		"status":                             "is not used any more: the Node workflow's status has it",
		"post_setup_hook":                    "is not used any more",
		"only_production_apps":               "is not used any more",
		"evacuation_delay_secs":              "is not used any more: see evacuation_bail_out_time_in_seconds",
		"logging.syslog":                     "is not used any more: log to standard error and let the service manager pass it on",
		"directory_server.v2_port":           "is not used any more: directory_server.listen has host and port",
		"directory_server.file_api_port":     "is not used any more: directory_server.listen has host and port",
		"directory_server.streaming_timeout": "is not used any more: a stream ends with its instance",
		"directory_server.logging":           "is not used any more: it logs as logging says",
		"resources.num_instances":            "is not used any more: memory and disk limit the number of instances",
	}
}

// unknown says that a key is unknown, why if that is known, or which one may have been meant.
func (l *loader) unknown(section, key string, siblings []string) string {
	if why, ok := retired()[under(section, key)]; ok {
		return why + "; take it out"
	}
	if near := nearest(key, siblings); near != "" {
		return fmt.Sprintf("unknown key; did you mean %s?", near)
	}
	for _, at := range leaves(l.schema, "") {
		if at.path[strings.LastIndex(at.path, ".")+1:] == normal(key) && at.path != under(section, key) {
			return fmt.Sprintf("unknown key; did you mean %s?", at.path)
		}
	}
	return "unknown key"
}

// nearest is the one of some words that a mistyped word most likely is; empty when none is near.
func nearest(word string, of []string) string {
	best, distance := "", max(1, min(3, len(word)/3))+1
	for _, candidate := range of {
		if d := editDistance(normal(word), candidate); d < distance {
			best, distance = candidate, d
		}
	}
	if best == "" && len(word) >= 4 {
		// A part of the name, such as nproc for nproc_limit.
		i := slices.IndexFunc(of, func(c string) bool { return strings.HasPrefix(c, normal(word)+"_") })
		if i >= 0 {
			return of[i]
		}
	}
	return best
}

// normal takes out the differences in which names are mistaken most: case and dashes.
func normal(word string) string { return strings.ReplaceAll(strings.ToLower(word), "-", "_") }

// editDistance counts the letters to insert, delete, change or swap with the next to make a of b. A key longer than
// any of ours is cut, so that a hostile file costs no time.
func editDistance(a, b string) int {
	const longest = 64
	a, b = a[:min(len(a), longest)], b[:min(len(b), longest)]
	rows := [3][longest + 1]int{}
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func keysOf(t reflect.Type) []string {
	keys := make([]string, t.NumField())
	for i := range keys {
		keys[i] = keyOf(t.Field(i))
	}
	return keys
}
