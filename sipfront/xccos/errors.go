package xccos

import "parley/projections/chat"

// Success is the text of a reply with code 200 (pidgin-sipe sipe-groupchat.c, notes at its head; captures of
// SfBServerEnforcer). It is the one result whose number and text are known.
const Success = "SUCCESS_OK"

// results is the one table of errors. The conditions are those of the product's client library; all numbers and texts
// are ours. A row with a rule comes before the row of its code without one.
var results = []struct {
	refusal   chat.Code
	rule      string // of the refusal; empty: any
	condition string // PersistentChatErrorCode of the client library
	code      int
	text      string
}{
	{chat.CodeInvalid, "", "InvalidArgument", 400, "ERROR_INVALID_ARGUMENT"},
	{chat.CodeForbidden, "", "ErrorPermission", 403, "ERROR_PERMISSION"},
	{chat.CodeNotFound, "D3", "NoSuchPrincipal", 404, "ERROR_NO_SUCH_PRINCIPAL"},
	{chat.CodeNotFound, "", "NoSuchNode", 404, "ERROR_NO_SUCH_NODE"},
	{chat.CodeConflict, "R12", "DuplicateRoomName", 409, "ERROR_DUPLICATE_NAME"},
	{chat.CodeConflict, "", "DataCollision", 409, "ERROR_DATA_COLLISION"},
	{chat.CodeStaleEpoch, "", "DataCollision", 409, "ERROR_DATA_COLLISION"},
	{chat.CodeDisabled, "", "NodeDisabled", 410, "ERROR_NODE_DISABLED"},
	{chat.CodeNotJoined, "", "UserNotJoined", 412, "ERROR_USER_NOT_JOINED"},
	{chat.CodeTooLarge, "", "LimitExceeded", 413, "ERROR_LIMIT_EXCEEDED"},
	{chat.CodeUnsupported, "", "MsgNotSupported", 501, "ERROR_MSG_NOT_SUPPORTED"},
	{chat.CodeNotArchived, "", "DatabaseConnection", 480, "ERROR_ARCHIVE_BEHIND"},
	{chat.CodeUnavailable, "", "DatabaseConnection", 503, "ERROR_DATABASE"},
}

// Resp returns the code and text of a reply that refuses a command.
func Resp(r *chat.Refusal) (int, string) {
	for i := range results {
		if row := &results[i]; row.refusal == r.Code && (row.rule == "" || row.rule == r.Rule) {
			return row.code, row.text
		}
	}
	return 500, "ERROR_SERVER"
}
