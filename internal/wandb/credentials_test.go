package wandb

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	key1 = strings.Repeat("a1", 20)
	key2 = strings.Repeat("b2", 20)
)

func TestKeyForms(t *testing.T) {
	for _, tc := range []struct{ name, key, wrong string }{
		{"plain", key1, ""},
		{"longer", key1 + key2, ""},
		{"with a prefix", "local-" + key1, ""},
		{"dashes in the secret", "local-" + key1 + "-x", ""},
		{"a token", "aa.b-b.c_c", ""},
		{"empty", "", "is empty"},
		{"space", key1 + "\n", "white space"},
		{"short", key1[1:], "39 characters"},
		{"short behind the prefix", "local-" + key1[1:], "39 characters"},
		{"other characters", key1 + "$", "no key has"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := APIKey(tc.key, "WANDB_API_KEY")
			if tc.wrong == "" {
				assert.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.wrong)
			assert.ErrorContains(t, err, "WANDB_API_KEY", "where it is from")
			if tc.key != "" {
				assert.NotContains(t, err.Error(), key1[1:], "the key itself")
			}
		})
	}
}

func TestCredentialsDoNotShow(t *testing.T) {
	creds, err := APIKey(key1, "netrc")
	require.NoError(t, err)
	c, err := New(Options{Credentials: creds})
	require.NoError(t, err)
	b, err := json.Marshal(creds)
	require.NoError(t, err)
	for _, text := range []string{
		fmt.Sprint(creds), fmt.Sprintf("%+v %#v %q", creds, creds, creds), string(b), creds.LogValue().String(), c.described,
		fmt.Sprintf("%#v", Upload{Name: "x", url: key1}), fmt.Sprintf("%v", Upload{Name: "x", url: key1}),
	} {
		assert.NotContains(t, text, key1)
	}
	assert.Equal(t, "API key of netrc", creds.String())
}

func TestWhichCredentialsWin(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(home, ".netrc"), []byte(
		"machine api.wandb.ai login user password "+key2+"\nmachine localhost:8080 login user password "+key1+"\n"), 0o600))
	other := filepath.Join(t.TempDir(), "netrc")
	require.NoError(t, os.WriteFile(other, []byte("default login user password "+key1+"\n"), 0o600))
	broken := filepath.Join(t.TempDir(), "netrc")
	require.NoError(t, os.WriteFile(broken, []byte("machine \"api.wandb.ai login user password "+key1+"\n"), 0o600))
	for _, tc := range []struct {
		name           string
		lookup         Lookup
		env            map[string]string
		key, from      string
		warning, wrong string
	}{
		{"the configuration over all", Lookup{APIKey: key1}, map[string]string{"WANDB_API_KEY": key2}, key1, "the configuration", "", ""},
		{"the environment over netrc", Lookup{}, map[string]string{"WANDB_API_KEY": key1}, key1, "WANDB_API_KEY", "", ""},
		{"netrc last", Lookup{}, nil, key2, ".netrc", "", ""},
		{"netrc by port", Lookup{BaseURL: "http://localhost:8080/"}, nil, key1, ".netrc", "", ""},
		{"another port is another machine", Lookup{BaseURL: "http://localhost:8081"}, nil, "", "", "", ""},
		{"the environment's key stays at its host", Lookup{BaseURL: "https://other.example"}, map[string]string{"WANDB_API_KEY": key1}, "", "", "", ""},
		{"its host is WANDB_BASE_URL", Lookup{BaseURL: "https://other.example"}, map[string]string{"WANDB_API_KEY": key1, "WANDB_BASE_URL": "https://other.example/"}, key1, "WANDB_API_KEY", "", ""},
		{"its host is what the program says", Lookup{BaseURL: "https://other.example", EnvBaseURL: "https://other.example"}, map[string]string{"WANDB_API_KEY": key1}, key1, "WANDB_API_KEY", "", ""},
		{"an identity token", Lookup{}, map[string]string{"WANDB_IDENTITY_TOKEN_FILE": "/jwt"}, "", "WANDB_IDENTITY_TOKEN_FILE", "", ""},
		{"both", Lookup{}, map[string]string{"WANDB_IDENTITY_TOKEN_FILE": "/jwt", "WANDB_API_KEY": key1}, "", "", "", "unset one"},
		{"a bad key is no reason to look on", Lookup{}, map[string]string{"WANDB_API_KEY": "x"}, "", "", "", "1 characters"},
		{"NETRC and a default entry", Lookup{}, map[string]string{"NETRC": other}, key1, other, "", ""},
		{"a broken netrc", Lookup{}, map[string]string{"NETRC": broken}, "", "", "line 1: a quote without its end", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.lookup.Home = home
			tc.lookup.Getenv = func(name string) string { return tc.env[name] }
			creds, warning, err := Find(tc.lookup)
			if tc.wrong != "" {
				assert.ErrorContains(t, err, tc.wrong)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.key, creds.key)
			assert.Contains(t, creds.source, tc.from)
			if tc.warning == "" {
				assert.NoError(t, warning)
			} else if assert.ErrorContains(t, warning, tc.warning) {
				assert.NotContains(t, warning.Error(), key1)
			}
		})
	}
}

func TestNetrc(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"one line", "machine h login user password k", "k"},
		{"as W&B writes it", "machine x\n  login user\n  password z\nmachine h\n  login user\n  password k\n", "k"},
		{"quoted", `machine "h" login 'us er' password "k"`, "k"},
		{"comments", "# machine h password x\nmachine h # mine\n password k", "k"},
		{"a macro in front", "macdef m\nmachine h password x\n\nmachine h password k", "k"},
		{"the first entry wins", "machine h password k\nmachine h password x", "k"},
		{"default", "machine x password x\ndefault login u password k", "k"},
		{"the machine over the default", "default password x\nmachine h password k", "k"},
		{"none", "machine x password x", ""},
		{"empty", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := netrcPassword(tc.text, "h")
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
	for _, text := range []string{"machine", "machine h password", "password secret1 secret2 secret3 secret4", "machine h secret1 secret2"} {
		_, err := netrcPassword(text, "h")
		require.Error(t, err, "%q", text)
		assert.NotContains(t, err.Error(), "secret")
	}
}

func TestURLs(t *testing.T) {
	for base, app := range map[string]string{
		"https://api.wandb.ai":        "https://wandb.ai",
		"https://api.wandb.ai/":       "https://wandb.ai",
		"https://api.wandb.test":      "https://app.wandb.test",
		"https://api.example.com":     "https://app.example.com",
		"http://localhost:8080":       "http://localhost:8080",
		"https://wandb.example.com/x": "https://wandb.example.com/x",
	} {
		_, err := ParseBaseURL(base)
		assert.NoError(t, err, base)
		assert.Equal(t, app, AppURL(base))
	}
	for _, base := range []string{"https://wandb.ai", "http://api.wandb.ai", "api.wandb.ai", "ftp://x", "https://user:secret@x", "https://x?y", "https://%zz:secret@x"} {
		_, err := ParseBaseURL(base)
		if assert.Error(t, err, base) {
			assert.NotContains(t, err.Error(), "secret")
		}
	}
	assert.Equal(t, "https://wandb.ai/my%20team/a%2Fb/runs/r%3F", RunURL("https://wandb.ai/", Path{"my team", "a/b", "r?"}))
}
