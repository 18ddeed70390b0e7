package placement

// Lookup says where an item of span would go now, and changes nothing: to the
// run of d; to none, for the reason in rule; or, where rule is empty, it would
// wait until missing is known.
func (t *Table) Lookup(trace TraceID, span SpanID) (d *Decision, missing SpanID, rule Rule) {
	tr := t.traces[trace]
	if tr == nil {
		return nil, span, ""
	}
	return tr.lookup(span)
}
