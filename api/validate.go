package api

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// Bounds of what a request may ask for. They keep what travels under Temporal's limits and refuse what no node
// could give; a node's own limits are the scheduler's business.
const (
	// maxID leaves room beneath the 255 characters of a search attribute and of a file name.
	maxID = 200
	// maxMemoryMB and maxDiskMB are 16 TB: beyond it a figure is a mistake of units.
	maxMemoryMB = 16 << 20
	maxDiskMB   = 16 << 20
	maxFDs      = 1 << 20
	// maxEnv and maxEnvBytes bound an environment: Linux starts no process with much more, and Temporal carries 2 MB.
	maxEnv      = 1000
	maxEnvBytes = 1 << 20
	// maxRoutes and maxRoutesBytes bound the routes that an app is given while it runs: each of its instances is told all.
	maxRoutes      = 1000
	maxRoutesBytes = 64 << 10
	// maxHealthCheckSeconds is an hour: an app that takes longer to open its port is not starting.
	maxHealthCheckSeconds = 3600
)

var (
	idShape   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	envShape  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	sha1Shape = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)
	portShape = regexp.MustCompile(`^[0-9]{1,5}(-[0-9]{1,5})?$`)
	// endpointShape is a path and query as a request line can hold it.
	endpointShape = regexp.MustCompile(`^/[\x21-\x7e]*$`)
)

// Validate says what is wrong with the request, all of it in one error of type ErrInvalidRequest. No value is
// repeated in it but those that cannot be secret.
func (r StagingRequest) Validate() error {
	var f findings
	r.check(&f)
	if len(f.list) == 0 {
		f.payload("the whole", r, MaxStagingRequestBytes)
	}
	return f.err("the staging request is not valid")
}

// Validate says what is wrong with the message, all of it in one error of type ErrInvalidRequest.
func (m StartMessage) Validate() error {
	var f findings
	m.check(&f, "", true)
	m.checkNew(&f, "")
	if len(f.list) == 0 {
		f.payload("the whole", m, MaxStartMessageBytes)
	}
	return f.err("the start message is not valid")
}

// ValidateInstanceID says what is wrong with an id that is to be an instance's, in an error of type ErrInvalidRequest: it
// becomes the handle of a container, the name of its directory and a part of a workflow's id.
func ValidateInstanceID(id string) error {
	var f findings
	f.id("instance_id", id)
	if strings.HasPrefix(id, StagingHandle("")) {
		f.add("instance_id", fmt.Sprintf("may not begin with %q, as what is a staging's does", StagingHandle("")))
	}
	return f.err("the instance's id is not valid")
}

// ValidateStaged is Validate for a message whose droplet may be on its node alone: it needs no executableUri.
func (m StartMessage) ValidateStaged() error {
	var f findings
	m.check(&f, "", false)
	f.sha1("sha1", m.SHA1)
	return f.err("the start message is not valid")
}

// Validate says what is wrong with the spec, all of it in one error of type ErrInvalidRequest.
func (s AppSpec) Validate() error {
	var f findings
	s.Message.check(&f, "message.", true)
	s.Message.checkNew(&f, "message.")
	f.between("instances", int64(s.Instances), 0, MaxInstances)
	if len(f.list) == 0 {
		f.payload("message", s.Message, MaxStartMessageBytes)
	}
	return f.err("the app's description is not valid")
}

// Validate refuses a number of instances that no app may have, with an error of type ErrInvalidRequest.
func (r ScaleRequest) Validate() error {
	var f findings
	f.between("instances", int64(r.Instances), 0, MaxInstances)
	return f.err("the number of instances is not valid")
}

// Validate says what is wrong with the request, all of it in one error of type ErrInvalidRequest.
func (r RoutesRequest) Validate() error {
	var f findings
	size := 0
	for _, uri := range r.URIs {
		size += len(uri)
	}
	if size > maxRoutesBytes || len(r.URIs) > maxRoutes {
		f.add("uris", fmt.Sprintf("has more than %d routes or %d bytes", maxRoutes, maxRoutesBytes))
	} else {
		f.uris("uris", r.URIs)
	}
	if r.Version != "" {
		f.id("version", r.Version)
	}
	return f.err("the request for new routes is not valid")
}

func (r StagingRequest) check(f *findings) {
	f.id("app_id", r.AppID)
	f.id("task_id", r.TaskID)
	f.required("stack", r.Stack)
	f.url("download_uri", r.DownloadURI, true)
	f.url("upload_uri", r.UploadURI, true)
	f.url("buildpack_cache_download_uri", r.BuildpackCacheDownloadURI, false)
	f.url("buildpack_cache_upload_uri", r.BuildpackCacheUploadURI, false)
	f.between("memory_limit", r.MemoryLimit, 0, maxMemoryMB)
	f.between("disk_limit", r.DiskLimit, 0, maxDiskMB)
	f.limits("properties.resources", r.Properties.Resources)
	f.env("properties.environment", r.Properties.Environment)
	f.services("properties.services", r.Properties.Services)
	f.rules("egress_network_rules", r.EgressNetworkRules)
	r.checkBuildpacks(f)
	if r.StartMessage != nil {
		// The droplet that it is to run does not exist yet.
		r.StartMessage.check(f, "start_message.", false)
		if r.StartMessage.AppID != "" && r.StartMessage.AppID != r.AppID {
			f.add("start_message.droplet", "must be the same app as app_id")
		}
	}
}

func (r StagingRequest) checkBuildpacks(f *findings) {
	keys := make(map[string]bool, len(r.AdminBuildpacks))
	for i, b := range r.AdminBuildpacks {
		at := fmt.Sprintf("admin_buildpacks[%d].", i)
		if f.required(at+"key", b.Key) && strings.ContainsFunc(b.Key, unicode.IsControl) {
			f.add(at+"key", "holds a control character")
		}
		f.url(at+"url", b.URL, true)
		if keys[b.Key] {
			f.add(at+"key", "is there twice")
		}
		keys[b.Key] = true
	}
	r.checkChoice(f)
}

func (r StagingRequest) checkChoice(f *findings) {
	p := r.Properties
	if p.Buildpack != "" && p.BuildpackGitURL != "" && p.Buildpack != p.BuildpackGitURL {
		f.add("properties.buildpack_git_url", "is another one than properties.buildpack: name one of them")
	}
	custom := p.Buildpack != "" || p.BuildpackGitURL != ""
	switch {
	case custom && p.BuildpackKey != "":
		f.add("properties.buildpack_key", "cannot stand beside a custom buildpack's URL")
	case len(p.Buildpacks) > 0 && (custom || p.BuildpackKey != ""):
		f.add("properties.buildpacks", "cannot stand beside another choice of a buildpack")
	}
	f.gitSource("properties.buildpack", p.Buildpack)
	f.gitSource("properties.buildpack_git_url", p.BuildpackGitURL)
	if _, known := r.adminBuildpack(p.BuildpackKey); p.BuildpackKey != "" && !known {
		f.add("properties.buildpack_key", "names none of admin_buildpacks")
	}
	if len(p.Buildpacks) > maxChosen {
		f.add("properties.buildpacks", fmt.Sprintf("has %d buildpacks, more than %d", len(p.Buildpacks), maxChosen))
		return
	}
	seen := make(map[string]bool, len(p.Buildpacks))
	for i, name := range p.Buildpacks {
		at := fmt.Sprintf("properties.buildpacks[%d]", i)
		_, known := r.adminBuildpack(name)
		switch {
		case !f.required(at, name), known:
		case IsGitSource(name):
			f.gitSource(at, name)
		default:
			f.add(at, "names none of admin_buildpacks and is no git URL")
		}
		if seen[name] {
			f.add(at, "is there twice")
		}
		seen[name] = true
	}
}

func (m StartMessage) check(f *findings, at string, droplet bool) {
	f.id(at+"droplet", m.AppID)
	f.id(at+"version", m.Version)
	f.required(at+"stack", m.Stack)
	if droplet || m.SHA1 != "" {
		f.sha1(at+"sha1", m.SHA1)
	}
	f.url(at+"executableUri", m.ExecutableURI, droplet)
	f.between(at+"index", int64(m.Index), 0, MaxInstances-1)
	f.between(at+"limits.mem", m.Limits.MemoryMB, 1, maxMemoryMB)
	f.between(at+"limits.disk", m.Limits.DiskMB, 1, maxDiskMB)
	f.between(at+"limits.fds", m.Limits.FDs, 0, maxFDs)
	f.between(at+"health_check_timeout", int64(m.HealthCheckTimeout), 0, maxHealthCheckSeconds)
	f.check(at+"health_check", m.HealthCheck)
	f.check(at+"readiness_health_check", m.ReadinessCheck)
	f.env(at+"env", m.Env)
	f.services(at+"services", m.Services)
	f.rules(at+"egress_network_rules", m.EgressNetworkRules)
	f.uris(at+"uris", m.URIs)
}

// checkNew has the rules that came later. They are for messages that are accepted: workflows look at theirs by check alone, so
// that what has begun with a message goes on with it.
func (m StartMessage) checkNew(f *findings, at string) {
	if strings.Contains(m.StartCommand, "\x00") {
		f.add(at+"start_command", "holds a NUL, which no command can")
	}
	for field, check := range map[string]*HealthCheck{"health_check": m.HealthCheck, "readiness_health_check": m.ReadinessCheck} {
		if check != nil && check.Endpoint != "" && !isRequestURI(check.Endpoint) {
			f.add(at+field+".endpoint", "must be as a request has it: '%' and '#' as %25 and %23")
		}
	}
}

// findings collects what is wrong, so that a user corrects all of it at once.
type findings struct{ list []string }

func (f *findings) add(field, problem string) { f.list = append(f.list, field+" "+problem) }

func (f *findings) err(headline string) error {
	if len(f.list) == 0 {
		return nil
	}
	return Final(ErrInvalidRequest, headline+": "+strings.Join(f.list, "; "), nil)
}

// payload bounds what travels as one value. Its JSON may be longer than that of the wire: "<" becomes six bytes.
func (f *findings) payload(field string, value any, most int) {
	text, err := json.Marshal(value)
	switch {
	case err != nil: // values that JSON does not have, in a map of the caller's
		f.add(field, "cannot be written as JSON")
	case len(text) > most:
		f.add(field, fmt.Sprintf("takes %d bytes, more than %d", len(text), most))
	}
}

func (f *findings) required(field, value string) bool {
	if strings.TrimSpace(value) == "" {
		f.add(field, "is missing")
		return false
	}
	return true
}

func (f *findings) id(field, value string) {
	switch {
	case !f.required(field, value):
	case len(value) > maxID:
		f.add(field, fmt.Sprintf("is longer than %d characters", maxID))
	case !idShape.MatchString(value):
		f.add(field, "may hold only letters, digits, '.', '_' and '-', and begins with a letter or a digit")
	}
}

func (f *findings) sha1(field, value string) {
	if f.required(field, value) && !sha1Shape.MatchString(value) {
		f.add(field, "must be 40 hexadecimal digits")
	}
}

// url never repeats the value: basic auth may stand in it, and in the parser's own error too.
func (f *findings) url(field, value string, required bool) {
	if value == "" {
		if required {
			f.add(field, "is missing")
		}
		return
	}
	u, err := url.Parse(value)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		f.add(field, "must be an http or https URL with a host")
	}
}

// uris checks routes, which have no scheme.
func (f *findings) uris(field string, uris []string) {
	for i, uri := range uris {
		if u, err := url.Parse("http://" + uri); err != nil || u.Hostname() == "" || u.User != nil ||
			strings.Contains(uri, "://") || strings.ContainsAny(uri, " \t\r\n") {
			f.add(fmt.Sprintf("%s[%d]", field, i), "must be a host name, which a path may follow")
		}
	}
}

// gitSource never repeats the value, for the same reason.
func (f *findings) gitSource(field, value string) {
	if value == "" {
		return
	}
	if _, err := ParseGitSource(value); err != nil {
		f.add(field, err.Error())
	}
}

func (f *findings) between(field string, value, least, most int64) {
	if value < least || value > most {
		f.add(field, fmt.Sprintf("must be from %d to %d, not %d", least, most, value))
	}
}

func (f *findings) limits(field string, l Limits) {
	f.between(field+".mem", l.MemoryMB, 0, maxMemoryMB)
	f.between(field+".disk", l.DiskMB, 0, maxDiskMB)
	f.between(field+".fds", l.FDs, 0, maxFDs)
}

// env checks "NAME=value" pairs: a start script exports each, so a name must be one that a shell can export.
func (f *findings) env(field string, pairs []string) {
	if len(pairs) > maxEnv {
		f.add(field, fmt.Sprintf("has %d variables, more than %d", len(pairs), maxEnv))
		return
	}
	size := 0
	for _, pair := range pairs {
		size += len(pair)
	}
	if size > maxEnvBytes {
		f.add(field, fmt.Sprintf("has %d bytes, more than %d", size, maxEnvBytes))
		return
	}
	for i, pair := range pairs {
		at := fmt.Sprintf("%s[%d]", field, i)
		name, value, ok := strings.Cut(pair, "=")
		switch {
		case !ok:
			f.add(at, "must be NAME=value")
		case !envShape.MatchString(name):
			f.add(at, "needs a name of letters, digits and '_' that begins with no digit")
		case strings.ContainsRune(value, 0):
			f.add(at, "holds a zero byte")
		}
	}
}

func (f *findings) services(field string, services []Service) {
	for i, s := range services {
		at := fmt.Sprintf("%s[%d].", field, i)
		f.required(at+"name", s.Name)
		f.required(at+"label", s.Label)
		if len(s.VolumeMounts) > 0 {
			f.add(at+"volume_mounts", "must be empty: volumes cannot be mounted here")
		}
	}
}

func (f *findings) rules(field string, rules []EgressRule) {
	for i, r := range rules {
		at := fmt.Sprintf("%s[%d].", field, i)
		switch r.Protocol {
		case "tcp", "udp":
			if !validPorts(r.Ports) {
				f.add(at+"ports", `must be like "80,443" or "8000-9000"`)
			}
		case "icmp", "all":
			if r.Ports != "" {
				f.add(at+"ports", "is for tcp and udp alone")
			}
		default:
			f.add(at+"protocol", "must be tcp, udp, icmp or all")
		}
		if !validDestination(r.Destination) {
			f.add(at+"destination", `must be an address, a CIDR or a range "a-b"`)
		}
	}
}

func validDestination(s string) bool {
	if from, to, ok := strings.Cut(s, "-"); ok {
		a, errA := netip.ParseAddr(from)
		b, errB := netip.ParseAddr(to)
		return errA == nil && errB == nil && a.BitLen() == b.BitLen() && !b.Less(a)
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}

func validPorts(s string) bool {
	for _, part := range strings.Split(s, ",") {
		if !portShape.MatchString(part) {
			return false
		}
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		a, _ := strconv.Atoi(from)
		b, _ := strconv.Atoi(to)
		if a < 1 || b > 65535 || a > b {
			return false
		}
	}
	return true
}
