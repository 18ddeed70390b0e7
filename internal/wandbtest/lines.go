package wandbtest

import (
	"cmp"
	"slices"
)

// Line is one line of a run's stream: who wrote it, at which number, and what.
type Line struct {
	Writer string `json:",omitempty"` // the client id in shared mode
	Offset int
	Text   string
}

// lines are one file of a run's stream. A line's number identifies it: sending
// a number again replaces the line. In shared mode each writer counts for
// itself, and W&B takes the lines as they come.
type lines struct {
	all  []Line
	at   map[writerOffset]int // index in all
	next map[string]int       // one past the highest number of each writer
}

type writerOffset struct {
	writer string
	offset int
}

// put stores content from number offset on. It tells how many numbers were left
// out in front of it, and how many lines now say something else than before.
func (l *lines) put(writer string, offset int, content []string) (gap, changed int) {
	if l.at == nil {
		l.at, l.next = map[writerOffset]int{}, map[string]int{}
	}
	next, known := l.next[writer]
	if writer == "" || known {
		gap = max(0, offset-next)
	}
	for i, text := range content {
		key := writerOffset{writer, offset + i}
		if at, ok := l.at[key]; ok {
			if l.all[at].Text != text {
				changed++
			}
			l.all[at].Text = text
			continue
		}
		l.at[key] = len(l.all)
		l.all = append(l.all, Line{writer, offset + i, text})
	}
	l.next[writer] = max(next, offset+len(content))
	return gap, changed
}

// count is what W&B says the file's number of lines is.
func (l *lines) count() int {
	if next, alone := l.next[""]; alone && len(l.next) == 1 {
		return next
	}
	return len(l.all)
}

// list gives the lines by number, and in shared mode as they came.
func (l *lines) list() []Line {
	list := slices.Clone(l.all)
	if _, alone := l.next[""]; alone && len(l.next) == 1 {
		slices.SortFunc(list, func(a, b Line) int { return cmp.Compare(a.Offset, b.Offset) })
	}
	return list
}

// tail gives the texts of the last n lines.
func (l *lines) tail(n int) []string {
	list := l.list()
	texts := []string{}
	for _, line := range list[max(0, len(list)-n):] {
		texts = append(texts, line.Text)
	}
	return texts
}
