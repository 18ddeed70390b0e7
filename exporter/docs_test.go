package wandbexporter

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// described is what metadata.yaml and documentation.md say of a metric.
type described struct{ unit, kind, text string }

// registered are the metrics as the component registers them.
func registered(t *testing.T) map[string]described {
	t.Helper()
	p, tel := withTelemetry(t, configIn(t.TempDir()))
	defer p.shutdown(t)
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), noSpan())) // a counter by reason shows with its first drop
	all := map[string]described{}
	for name, m := range ownMetrics(t, tel) {
		kind := "Sum"
		if _, ok := m.Data.(metricdata.Gauge[int64]); ok {
			kind = "Gauge"
		}
		all[prefix+name] = described{m.Unit, kind, m.Description}
	}
	require.Contains(t, all, prefix+"dropped_items")
	return all
}

func TestDocumentationListsTheMetrics(t *testing.T) {
	heading := regexp.MustCompile(`(?s)^(\w+)\n\n(.*?) \[Alpha\]\n\n\|[^\n]*\n\|[^\n]*\n\| (\S+) \| (\w+) \|.*?\*When to worry:\* \S`)
	found := map[string]described{}
	for i, section := range strings.Split(text(t, "documentation.md"), "\n### ") {
		if i == 0 {
			continue
		}
		m := heading.FindStringSubmatch(section)
		if assert.NotNil(t, m, "a metric's section is its name, a sentence with [Alpha], a table, and when to worry:\n%.200s", section) {
			found[m[1]] = described{m[3], m[4], m[2]}
		}
	}
	assert.Equal(t, registered(t), found)
}

func TestMetadataListsTheMetrics(t *testing.T) {
	metadata, err := confmaptest.LoadConf("metadata.yaml")
	require.NoError(t, err)
	assert.Equal(t, Type.String(), metadata.Get("type"))
	assert.Equal(t, scopeName, metadata.Get("scope_name"))
	found := map[string]described{}
	for name, v := range metadata.Get("telemetry::metrics").(map[string]any) {
		m := v.(map[string]any)
		kind := "Sum"
		if m["gauge"] != nil {
			kind = "Gauge"
		}
		found["otelcol_"+name] = described{m["unit"].(string), kind, m["description"].(string)}
	}
	assert.Equal(t, registered(t), found)
}

// Every reason of the code is documented, and no other.
func TestDocumentationListsTheReasonsOfDrops(t *testing.T) {
	reasons := map[string]bool{}
	for _, stage := range []string{"engine", "intake", "placement", "run"} {
		for name, value := range constants(t, filepath.Join("internal", stage)) {
			if strings.HasPrefix(name, "Drop") || strings.HasPrefix(name, "Refused") {
				reasons[value] = true
			}
		}
	}
	for name, value := range constants(t, filepath.Join("..", "internal", "runmode")) {
		if strings.HasPrefix(name, "Shared") { // the table of run modes has its own
			reasons[value] = true
		}
	}
	require.Greater(t, len(reasons), 20)
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\|")
	var found []string
	for _, m := range row.FindAllStringSubmatch(text(t, "documentation.md"), -1) {
		found = append(found, m[1])
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(reasons)), found)
}

// constants are the string constants of a package, by name.
func constants(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, name := range spec.Names {
				if i >= len(spec.Values) {
					continue
				}
				if lit, ok := spec.Values[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					value, err := strconv.Unquote(lit.Value)
					require.NoError(t, err)
					found[name.Name] = value
				}
			}
			return true
		})
	}
	return found
}

// README.md has a row for each key, with its default.
func TestReadmeListsTheConfiguration(t *testing.T) {
	want := map[string]any{}
	keysOf(want, "", reflect.ValueOf(createDefaultConfig()).Elem())
	_, section, ok := strings.Cut(text(t, "README.md"), "\n## Configuration\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	row := regexp.MustCompile("(?m)^\\| `([a-z_:\\[\\]]+)` \\| ([^|]*) \\| \\S")
	found := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(section, -1) {
		found[m[1]] = strings.Trim(m[2], "`")
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(found)))
	for key, value := range want {
		said := found[key]
		switch v := value.(type) {
		case time.Duration:
			d, err := time.ParseDuration(said)
			require.NoError(t, err, key)
			assert.Equal(t, v, d, key)
		case string:
			assert.Equal(t, cmp.Or(v, "none"), said, key)
		case int64:
			n, err := strconv.ParseInt(said, 10, 64)
			require.NoError(t, err, key)
			assert.Equal(t, v, n, key)
		case bool:
			assert.Equal(t, strconv.FormatBool(v), said, key)
		}
	}
}

// keysOf are the keys of a configuration and their defaults; lists are empty.
func keysOf(into map[string]any, parent string, v reflect.Value) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		key := field.Tag.Get("mapstructure")
		if key == "" {
			continue
		}
		key = parent + key
		switch f := v.Field(i); {
		case f.Type() == reflect.TypeFor[confighttp.ClientConfig]():
			into[key] = nil // the Collector documents it
		case f.Kind() == reflect.Struct:
			keysOf(into, key+"::", f)
		case f.Kind() == reflect.Slice:
			into[key] = "none"
			if words, ok := f.Interface().([]string); ok && len(words) > 0 {
				into[key] = strings.Join(words, "`, `")
			}
			if field.Type.Elem().Kind() == reflect.Struct {
				keysOf(into, key+"[]::", reflect.Zero(field.Type.Elem()))
			}
		case f.Type() == reflect.TypeFor[time.Duration]():
			into[key] = time.Duration(f.Int())
		case f.CanInt():
			into[key] = f.Int()
		default:
			into[key] = f.Interface()
		}
	}
}

// What the documents name exists: metrics, keys, files.
func TestDocumentsNameWhatExists(t *testing.T) {
	readme, documentation := text(t, "README.md"), text(t, "documentation.md")
	metrics := registered(t)
	for _, name := range regexp.MustCompile(`otelcol_exporter_wandb_\w+`).FindAllString(readme+documentation, -1) {
		assert.Contains(t, metrics, name)
	}
	keys := map[string]any{}
	keysOf(keys, "", reflect.ValueOf(createDefaultConfig()).Elem())
	for _, m := range regexp.MustCompile("`((?:placement|finish|run)::\\w+)").FindAllStringSubmatch(readme+documentation, -1) {
		assert.Contains(t, keys, m[1])
	}
}

// The table of what to watch has all metrics, and no other.
func TestOperationsListsTheMetrics(t *testing.T) {
	_, section, ok := strings.Cut(text(t, "../docs/operations.md"), "\n## What to watch\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	var named []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+) \\|").FindAllStringSubmatch(section, -1) {
		for _, m := range regexp.MustCompile("`(\\w+)").FindAllStringSubmatch(row[1], -1) {
			named = append(named, prefix+m[1])
		}
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(registered(t))), named)
}

// Links between the documents lead to a file that is there, and to a heading of it.
func TestLinksLeadSomewhere(t *testing.T) {
	fence := regexp.MustCompile("(?s)```.*?\n```")
	link := regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)\s]+))?\)`)
	pages := 0
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != ".." && (d.Name() == "bin" || d.Name()[0] == '.') {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".md" {
			return nil
		}
		pages++
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text(t, path), ""), -1) {
			to := path
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(path), m[1])
			}
			if _, err := os.Stat(to); !assert.NoError(t, err, "%s: %s", path, m[0]) || m[2] == "" {
				continue
			}
			assert.Contains(t, anchors(fence.ReplaceAllString(text(t, to), "")), m[2], "%s: %s", path, m[0])
		}
		return nil
	}))
	assert.Greater(t, pages, 30)
}

// anchors are what the headings of a page are linked by.
func anchors(page string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return all
}

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}
