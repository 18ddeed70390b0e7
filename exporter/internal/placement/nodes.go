package placement

import "iter"

// few is up to how many spans a trace keeps in a list. Most traces are small
// and hold nothing for W&B: a map for each would be most of the exporter's memory.
const few = 32

// nodes are the spans known of a trace.
type nodes struct {
	list []listed
	m    map[SpanID]node // once there are more than few
}

type listed struct {
	span SpanID
	node node
}

func (n *nodes) len() int { return len(n.list) + len(n.m) }

func (n *nodes) get(span SpanID) (node, bool) {
	if n.m != nil {
		v, ok := n.m[span]
		return v, ok
	}
	for i := range n.list {
		if n.list[i].span == span {
			return n.list[i].node, true
		}
	}
	return node{}, false
}

// at is the node of span; the zero node where it is not known.
func (n *nodes) at(span SpanID) node {
	v, _ := n.get(span)
	return v
}

func (n *nodes) set(span SpanID, v node) {
	if n.m != nil {
		n.m[span] = v
		return
	}
	for i := range n.list {
		if n.list[i].span == span {
			n.list[i].node = v
			return
		}
	}
	if len(n.list) < few {
		n.list = append(n.list, listed{span, v})
		return
	}
	n.m = make(map[SpanID]node, 2*few)
	for _, l := range n.list {
		n.m[l.span] = l.node
	}
	n.m[span] = v
	n.list = nil
}

// all are the spans with their nodes, in no order.
func (n *nodes) all() iter.Seq2[SpanID, node] {
	return func(yield func(SpanID, node) bool) {
		for _, l := range n.list {
			if !yield(l.span, l.node) {
				return
			}
		}
		for span, v := range n.m {
			if !yield(span, v) {
				return
			}
		}
	}
}
