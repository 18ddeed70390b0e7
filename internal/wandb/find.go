package wandb

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Lookup says where to look for the credentials of one server. The first that
// has some wins: what is given, the environment, netrc.
type Lookup struct {
	BaseURL string
	// APIKey and IdentityTokenFile are given by a configuration, for this server.
	APIKey            string
	IdentityTokenFile string
	// EnvBaseURL is the server that WANDB_API_KEY and WANDB_IDENTITY_TOKEN_FILE
	// belong to; for another they are not looked at. "" is that of
	// WANDB_BASE_URL, else W&B's own.
	EnvBaseURL string
	// Getenv and Home replace those of the system.
	Getenv func(string) string
	Home   string
}

// Find looks for credentials. None is no error: the zero Credentials. warning
// is about a netrc file that was skipped.
func Find(l Lookup) (creds Credentials, warning, err error) {
	base, err := ParseBaseURL(l.BaseURL)
	if err != nil {
		return Credentials{}, nil, err
	}
	if l.Getenv == nil {
		l.Getenv = os.Getenv
	}
	switch {
	case l.APIKey != "" && l.IdentityTokenFile != "":
		return Credentials{}, nil, fmt.Errorf("both an API key and an identity token file are configured for %s: leave one out", base)
	case l.APIKey != "":
		creds, err = APIKey(l.APIKey, "the configuration")
		return creds, nil, err
	case l.IdentityTokenFile != "":
		return IdentityTokenFile(l.IdentityTokenFile, "the configuration"), nil, nil
	}
	if l.envIsFor(base) {
		key, file := l.Getenv("WANDB_API_KEY"), l.Getenv("WANDB_IDENTITY_TOKEN_FILE")
		switch {
		case key != "" && file != "":
			return Credentials{}, nil, errors.New("both WANDB_API_KEY and WANDB_IDENTITY_TOKEN_FILE are set: unset one")
		case key != "":
			creds, err = APIKey(key, "WANDB_API_KEY")
			return creds, nil, err
		case file != "":
			return IdentityTokenFile(file, "WANDB_IDENTITY_TOKEN_FILE"), nil, nil
		}
	}
	return l.netrc(base)
}

func (l Lookup) envIsFor(base *url.URL) bool {
	text := l.EnvBaseURL
	if text == "" {
		text = l.Getenv("WANDB_BASE_URL")
	}
	env, err := ParseBaseURL(text)
	return err == nil && *env == *base
}

// netrc looks for the server's entry, its port being part of its name.
func (l Lookup) netrc(base *url.URL) (creds Credentials, warning, err error) {
	path := l.netrcPath()
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || path == "" {
		return Credentials{}, nil, nil
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("credentials of %s: %w: make it readable, or set WANDB_API_KEY", base, err), nil
	}
	password, err := netrcPassword(string(text), base.Host)
	switch {
	case err != nil:
		return Credentials{}, fmt.Errorf("credentials of %s: %s: %w: correct it, or set WANDB_API_KEY", base, path, err), nil
	case password == "":
		return Credentials{}, nil, nil
	}
	creds, err = APIKey(password, path)
	return creds, nil, err
}

func (l Lookup) netrcPath() string {
	home := l.Home
	if home == "" {
		home, _ = os.UserHomeDir() // without one there is no netrc
	}
	if path := l.Getenv("NETRC"); path != "" {
		if rest, ok := strings.CutPrefix(path, "~/"); ok {
			return filepath.Join(home, rest)
		}
		return path
	}
	if home == "" {
		return ""
	}
	for _, name := range []string{".netrc", "_netrc"} {
		path := filepath.Join(home, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return filepath.Join(home, ".netrc")
}
