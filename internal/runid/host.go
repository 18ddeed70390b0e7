package runid

import (
	"net/url"
	"strings"
)

// Host is the base URL of a W&B server as runs are named by it: scheme and host
// in lower case, no port where it is the scheme's own, no slash at the end. All
// that people write is read by it, so that one server has one name. What is no
// URL stays as it is.
func Host(text string) string {
	text = strings.TrimRight(text, "/")
	if strings.Count(text, ":") < 2 && strings.ToLower(text) == text {
		return text // as nearly all are
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return text
	}
	u.Host = strings.ToLower(u.Host)
	switch port := u.Port(); {
	case port == "", u.Scheme == "https" && port == "443", u.Scheme == "http" && port == "80":
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	return u.String()
}
