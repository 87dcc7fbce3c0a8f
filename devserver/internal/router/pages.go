package router

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"syscall"
)

//go:embed pages.html
var pagesText string

var pages = template.Must(template.New("pages").Parse(pagesText))

// page is what a person reads instead of an app's answer.
type page struct {
	status int
	// code is the cause, for programs.
	code string
	// what is said first, in gorouter's words where it has some; then what is known of it; then what to do.
	what, detail, next string
}

func unknownRoute(host string) page {
	return page{
		status: http.StatusNotFound, code: "unknown_route",
		what: fmt.Sprintf("Requested route ('%s') does not exist.", host),
		next: "`starter apps` lists the routes of all apps; an app gets others by `starter routes NAME ROUTE...`.",
	}
}

func unknownInstance(host, wanted string) page {
	return page{
		status: http.StatusBadRequest, code: "unknown_route",
		what: fmt.Sprintf("Requested instance ('%s') does not exist for route ('%s').", wanted, host),
		next: headerPinned + " is APP-GUID:INDEX; `starter ps NAME` lists the instances of an app.",
	}
}

func noEndpoints(host string) page {
	return page{
		status: http.StatusServiceUnavailable, code: "no_endpoints",
		what: fmt.Sprintf("Requested route ('%s') has no available endpoints.", host),
		next: "No instance of its app is ready. `starter ps NAME` says how they are.",
	}
}

func endpointFailure(host string, e *endpoint, err error) page {
	app := e.app
	if app == "" {
		app = "NAME"
	}
	instance := "What is"
	if e.app != "" {
		instance = fmt.Sprintf("Instance %s of %s,", e.index, e.app)
	}
	return page{
		status: http.StatusBadGateway, code: "endpoint_failure",
		what:   "Registered endpoint failed to handle the request.",
		detail: fmt.Sprintf("%s at %s for the route '%s', %s.", instance, e.address, host, inWords(err)),
		next:   fmt.Sprintf("`starter logs %s` shows what the app wrote, `starter ps %s` how its instances are.", app, app),
	}
}

// inWords is an error of an endpoint's for a person.
func inWords(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "takes no connections"
	case isTLS(err):
		return "could not prove who it is"
	case isBroken(err):
		return "ended the connection before it had answered"
	case isDial(err):
		return "cannot be reached"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "took too long"
	default:
		return "gave no answer that can be understood"
	}
}

// writePage answers with a page, in the form that the client prefers.
func writePage(w http.ResponseWriter, request *http.Request, p page) {
	if p.code != "" {
		w.Header().Set(headerError, p.code)
	}
	title := strconv.Itoa(p.status) + " " + http.StatusText(p.status)
	if wantsHTML(request) {
		writeHTML(w, p.status, "failure", map[string]string{
			"Title": title, "What": p.what, "Detail": p.detail, "Next": p.next,
		})
		return
	}
	lines := title + ": " + p.what + "\n"
	for _, line := range []string{p.detail, p.next} {
		if line != "" {
			lines += line + "\n"
		}
	}
	write(w, p.status, "text/plain; charset=utf-8", []byte(lines))
}

// wantsHTML tells whether a browser asks.
func wantsHTML(request *http.Request) bool {
	return strings.Contains(request.Header.Get("Accept"), "text/html")
}

func writeHTML(w http.ResponseWriter, status int, name string, values any) {
	var text bytes.Buffer
	if err := pages.ExecuteTemplate(&text, name, values); err != nil {
		panic(err) // the template and its values are this package's
	}
	write(w, status, "text/html; charset=utf-8", text.Bytes())
}

func write(w http.ResponseWriter, status int, contentType string, text []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(text)))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	// The next request may already find the app.
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may have gone
}

// isOwn tells whether a host is the machine itself, beneath which apps have their names.
func isOwn(host string) bool {
	return strings.EqualFold(host, "localhost") || host == "127.0.0.1" || host == "::1"
}

// listed is a route as the overview shows it.
type listed struct {
	Route string
	// URL is empty where a browser cannot go.
	URL       string
	Endpoints []listedEndpoint
}

type listedEndpoint struct{ App, Index, Address string }

// overview lists the routes.
func (r *Router) overview(w http.ResponseWriter, request *http.Request) {
	if request.URL.Path != "/" {
		writePage(w, request, unknownRoute(request.Host+request.URL.EscapedPath()))
		return
	}
	if request.Method != http.MethodGet && request.Method != http.MethodHead {
		writePage(w, request, page{status: http.StatusMethodNotAllowed, what: "The routes can only be looked at."})
		return
	}
	routes := r.listed(request)
	if wantsHTML(request) {
		writeHTML(w, http.StatusOK, "overview", routes)
		return
	}
	var text strings.Builder
	for _, one := range routes {
		fmt.Fprintln(&text, one.Route)
		for _, e := range one.Endpoints {
			fmt.Fprintf(&text, "  %s\n", strings.Join(strings.Fields(e.App+" "+e.Index+" "+e.Address), " "))
		}
	}
	write(w, http.StatusOK, "text/plain; charset=utf-8", []byte(text.String()))
}

func (r *Router) listed(request *http.Request) []listed {
	port := strings.TrimPrefix(request.Host, withoutPort(request.Host))
	if strings.HasPrefix(request.Host, "[") {
		_, port, _ = strings.Cut(request.Host, "]")
	}
	var routes []listed
	for _, one := range r.table.all() {
		l := listed{Route: one.String()}
		if !one.wildcard {
			l.URL = "http://" + one.host + port + one.path
		}
		for _, e := range *one.live.Load() {
			l.Endpoints = append(l.Endpoints, listedEndpoint{App: e.app, Index: e.index, Address: e.address})
		}
		routes = append(routes, l)
	}
	return routes
}
