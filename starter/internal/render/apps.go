package render

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/durable-dea/dea/api"
)

// Apps writes a list of apps.
func (r Renderer) Apps(apps []api.AppStatus) error {
	if apps == nil {
		apps = []api.AppStatus{} // an empty list in JSON, not null
	}
	return r.answer(map[string]any{"apps": apps}, func(out io.Writer) {
		if len(apps) == 0 {
			_, _ = fmt.Fprintln(out, "No apps. `starter push DIR --name NAME` makes one.")
			return
		}
		rows := make([][]string, 0, len(apps))
		for _, a := range apps {
			rows = append(rows, []string{
				a.AppID, appState(a), fmt.Sprintf("%d/%d", a.Running, a.Desired), strings.Join(a.URIs, ","), r.problem(a),
			})
		}
		table(out, []string{"NAME", "STATE", "RUNNING", "ROUTES", "PROBLEM"}, rows)
	})
}

// appState is one word on an app.
func appState(a api.AppStatus) string {
	switch {
	case a.Deleting:
		return "deleting"
	case a.Desired == 0 && len(a.Instances) > 0 && slices.ContainsFunc(a.Instances, alive):
		return "stopping"
	case a.Desired == 0:
		return "stopped"
	case a.Running >= a.Desired:
		return "running"
	case a.RetryAt != nil:
		return "failing"
	default:
		return "starting"
	}
}

func alive(i api.InstanceStatus) bool { return i.State.Alive() }

func (r Renderer) problem(a api.AppStatus) string {
	if a.Problem == "" || a.RetryAt == nil {
		return a.Problem
	}
	wait := a.RetryAt.Sub(r.Now()).Seconds()
	return fmt.Sprintf("%s; tried again in %ds", a.Problem, max(0, int(wait)))
}

// App writes one app and its instances.
func (r Renderer) App(a api.AppStatus) error { return r.AppUsage(AppUsage{AppStatus: a}) }

// AppUsage writes one app, its instances, and what they use where that is known of any.
func (r Renderer) AppUsage(a AppUsage) error {
	return r.answer(a, func(out io.Writer) { r.app(out, a) })
}

// Pushed writes the outcome of a push: value in JSON, its app as text.
func (r Renderer) Pushed(value any, a api.AppStatus) error {
	return r.answer(value, func(out io.Writer) { r.app(out, AppUsage{AppStatus: a}) })
}

// routes are an app's routes as a browser takes them, where it is known how.
func (r Renderer) routes(uris []string) []string {
	if r.Router == nil {
		return uris
	}
	urls := make([]string, 0, len(uris))
	for _, uri := range uris {
		if strings.HasPrefix(uri, "*.") {
			urls = append(urls, uri) // of any host, and so none in particular
			continue
		}
		host, path, _ := strings.Cut(uri, "/")
		at := url.URL{Scheme: r.Router.Scheme, Host: host, Path: path}
		if port := r.Router.Port(); port != "" {
			at.Host += ":" + port
		}
		urls = append(urls, at.String())
	}
	return urls
}

func (r Renderer) app(out io.Writer, a AppUsage) {
	first := fmt.Sprintf("%s: %s, %d of %d instances run", a.AppID, appState(a.AppStatus), a.Running, a.Desired)
	if len(a.URIs) > 0 {
		first += ", routes " + strings.Join(r.routes(a.URIs), ", ")
	}
	_, _ = fmt.Fprintln(out, oneLine(first))
	if p := r.problem(a.AppStatus); p != "" {
		_, _ = fmt.Fprintf(out, "problem: %s\n", oneLine(p))
	}
	if len(a.Instances) == 0 {
		return
	}
	instances := slices.Clone(a.Instances)
	slices.SortStableFunc(instances, func(x, y api.InstanceStatus) int {
		return cmp.Or(cmp.Compare(x.Index, y.Index), x.Since.Compare(y.Since))
	})
	header := []string{"INDEX", "STATE", "FOR", "ADDRESS", "NODE", "INSTANCE", "EXIT"}
	rows := make([][]string, 0, len(instances))
	ages := make([]string, 0, len(instances))
	for _, i := range instances {
		row := []string{strconv.Itoa(i.Index), state(i), age(r.Now(), i.Since), address(i), i.Node, i.InstanceID, exit(i.Exit)}
		old := ""
		if s := of(a.Stats, i.InstanceID); s != nil {
			old = measured(r.Now(), s.At)
		}
		if len(a.Stats) > 0 {
			row = slices.Insert(row, len(row)-1, usage(a.Stats, i.InstanceID)...)
		}
		rows, ages = append(rows, row), append(ages, old)
	}
	if len(a.Stats) > 0 {
		header = slices.Insert(header, len(header)-1, "CPU", "MEMORY", "DISK")
	}
	header, rows = withMeasured(header, rows, ages)
	table(out, header, rows)
}

func exit(e *api.InstanceExit) string {
	switch {
	case e == nil:
		return ""
	case e.Status < 0:
		return e.Description
	default:
		return fmt.Sprintf("%s (status %d)", e.Description, e.Status)
	}
}

// Staging writes the result of a staging.
func (r Renderer) Staging(s api.StagingResult) error {
	return r.answer(s, func(out io.Writer) {
		rows := [][2]string{
			{"app", s.AppID},
			{"task", s.TaskID},
			{"node", s.NodeID},
			{"buildpack", s.DetectedBuildpack},
			{"start command", s.DetectedStartCommand},
			{"droplet", s.DropletSHA1},
			{"error", s.Error},
		}
		for _, row := range rows {
			if row[1] != "" {
				_, _ = fmt.Fprintf(out, "%-15s %s\n", row[0]+":", oneLine(row[1]))
			}
		}
	})
}
