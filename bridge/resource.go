package bridge

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"go.opentelemetry.io/otel/attribute"
)

// processResource says what the program is, and where it runs: OpenTelemetry's
// names, of which the exporter makes what W&B shows of a run. What the
// environment says comes first: of two attributes of a name, readers take the
// first.
func processResource(env func(string) string) []attribute.KeyValue {
	var out []attribute.KeyValue
	seen := map[string]bool{}
	add := func(kv attribute.KeyValue) {
		key := string(kv.Key)
		if !seen[key] && (kv.Value.Type() != attribute.STRING || kv.Value.AsString() != "") {
			seen[key] = true
			out = append(out, kv)
		}
	}
	text := func(key, value string) { add(attribute.String(key, value)) }

	program := filepath.Base(os.Args[0])
	text("service.name", env("OTEL_SERVICE_NAME"))
	for pair := range strings.SplitSeq(env("OTEL_RESOURCE_ATTRIBUTES"), ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			if decoded, err := url.PathUnescape(strings.TrimSpace(v)); err == nil {
				v = decoded
			}
			text(strings.TrimSpace(k), v)
		}
	}
	text("service.name", program)
	if host, err := os.Hostname(); err == nil {
		text("host.name", host)
	}
	text("host.arch", runtime.GOARCH)
	text("os.type", runtime.GOOS)
	text("process.command", program)
	if path, err := os.Executable(); err == nil {
		text("process.executable.path", path)
	}
	text("process.executable.name", program)
	add(attribute.StringSlice("process.command_args", withoutSecrets(os.Args)))
	add(attribute.Int("process.pid", os.Getpid()))
	text("process.runtime.name", "go")
	text("process.runtime.version", runtime.Version())
	if info, ok := debug.ReadBuildInfo(); ok {
		code(info, text)
	}
	return out
}

// code says which source the program was built of.
func code(info *debug.BuildInfo, text func(key, value string)) {
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			text("vcs.ref.head.revision", s.Value)
		}
	}
	text("service.version", strings.TrimPrefix(info.Main.Version, "(devel)"))
	// A module's path is its repository, on the hosts where that is certain.
	parts := strings.Split(info.Main.Path, "/")
	if len(parts) >= 3 && (parts[0] == "github.com" || parts[0] == "gitlab.com" || parts[0] == "bitbucket.org") {
		text("vcs.repository.url.full", "https://"+strings.Join(parts[:3], "/"))
	}
}

var (
	secretFlag = regexp.MustCompile(`(?i)(key|token|secret|passw|credential|auth)`)
	secretText = regexp.MustCompile(`://[^/@\s]+@`)
)

// withoutSecrets are arguments in which the values of flags like -api-key, and
// passwords in URLs, are stars.
func withoutSecrets(args []string) []string {
	const stars = "***"
	out := make([]string, len(args))
	hide := false
	for i, a := range args {
		name, _, assigned := strings.Cut(a, "=")
		isFlag := strings.HasPrefix(a, "-")
		switch {
		case hide && !isFlag:
			a = stars
		case assigned && secretFlag.MatchString(name):
			a = name + "=" + stars
		}
		hide = isFlag && !assigned && secretFlag.MatchString(name)
		out[i] = secretText.ReplaceAllString(a, "://"+stars+"@")
	}
	return out
}
