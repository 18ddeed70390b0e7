package dotwandb

// AppendNum completes a record that was appended without Num and UUID, and
// may have been for a while: the fields of a message come in any order.
func AppendNum(dst []byte, num int64, uuid string) []byte {
	return appendString(appendInt(dst, 1, num), 19, uuid)
}
