package wandbtest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// authorized checks the credentials of a call, and answers it where they fail.
func (s *Server) authorized(c *call) bool {
	if user, key, ok := c.BasicAuth(); ok && user == "api" && slices.Contains(s.opts.APIKeys, key) {
		return true
	}
	if token, ok := strings.CutPrefix(c.Header.Get("Authorization"), "Bearer "); ok {
		if ends, known := s.tokens[token]; known && s.opts.Now().Before(ends) {
			return true
		}
	}
	c.reply(http.StatusUnauthorized, map[string]any{"errors": []any{
		map[string]any{"message": "user is not logged in", "path": []string{"viewer"}},
	}})
	return false
}

// exchange gives an access token for an identity token.
func (s *Server) exchange(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	form, err := url.ParseQuery(string(c.body))
	switch {
	case err != nil || c.Header.Get("Content-Type") != "application/x-www-form-urlencoded":
		c.refuse(http.StatusBadRequest, "not a form")
	case form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
		c.refuse(http.StatusBadRequest, "unsupported grant type %q", form.Get("grant_type"))
	case c.Header.Get("Authorization") != "":
		s.violation("/oidc/token: sent with credentials")
		c.refuse(http.StatusBadRequest, "credentials at the token endpoint")
	case !slices.Contains(s.opts.IdentityTokens, form.Get("assertion")):
		c.refuse(http.StatusUnauthorized, "unknown identity token")
	default:
		token := s.newID("access-token")
		s.tokens[token] = s.opts.Now().Add(s.opts.TokenLife)
		c.reply(http.StatusOK, map[string]any{"access_token": token, "expires_in": s.opts.TokenLife.Seconds()})
	}
}
