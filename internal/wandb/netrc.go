package wandb

import (
	"errors"
	"fmt"
	"strings"
)

// netrcPassword gives the password of a machine in the text of a netrc file,
// else that of its default entry, else "".
//
//	machine api.wandb.ai
//	  login user
//	  password KEY
//	default login x password y
//	macdef name … up to an empty line
func netrcPassword(text, machine string) (string, error) {
	words, err := netrcWords(text)
	if err != nil {
		return "", err
	}
	var name, found, fallback string
	known := false // the first entry of a machine wins, even without a password
	for i := 0; i < len(words); i++ {
		word := words[i]
		if word == "default" {
			name = "default"
			continue
		}
		if i+1 >= len(words) {
			return "", fmt.Errorf("nothing follows the last word, which is %q", keyword(word))
		}
		i++
		switch word {
		case "machine":
			if name == machine {
				known = true
			}
			name = words[i]
		case "login", "user", "account":
		case "password":
			switch {
			case name == machine && !known && found == "":
				found = words[i]
			case name == "default" && fallback == "":
				fallback = words[i]
			}
		default:
			return "", fmt.Errorf("a word that is none of machine, default, login, account, password, macdef: word %d", i)
		}
	}
	if found != "" {
		return found, nil
	}
	return fallback, nil
}

// keyword shows a word only where it cannot be a secret.
func keyword(word string) string {
	switch word {
	case "machine", "login", "user", "account", "password":
		return word
	default:
		return "…"
	}
}

// netrcWords splits the text as a shell would, without comments and macros.
func netrcWords(text string) ([]string, error) {
	var words []string
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		for {
			line = strings.TrimLeft(line, " \t\r")
			if line == "" || line[0] == '#' {
				break
			}
			word, rest, err := netrcWord(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			line = rest
			if word == "macdef" {
				for i+1 < len(lines) && strings.TrimSpace(lines[i+1]) != "" {
					i++
				}
				break
			}
			words = append(words, word)
		}
	}
	return words, nil
}

// netrcWord takes the first word off a line.
func netrcWord(line string) (word, rest string, err error) {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			b.WriteByte(c)
		case c == '"' || c == '\'':
			quote = c
		case c == ' ' || c == '\t' || c == '\r':
			return b.String(), line[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", errors.New("a quote without its end")
	}
	return b.String(), "", nil
}
