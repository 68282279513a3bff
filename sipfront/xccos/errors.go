package xccos

import "parley/projections/chat"

// Success is the text of a reply with code 200 (pidgin-sipe sipe-groupchat.c, notes at its head; captures of
// SfBServerEnforcer). It is the one result whose number and text are known.
const Success = "SUCCESS_OK"

// results is the one table of errors. The conditions are those of the product's client library; all numbers and texts
// are ours. The first row of a code is what it becomes when nothing more is known.
var results = []struct {
	refusal   chat.Code
	condition string // PersistentChatErrorCode of the client library
	code      int
	text      string
}{
	{chat.CodeInvalid, "InvalidArgument", 400, "ERROR_INVALID_ARGUMENT"},
	{chat.CodeForbidden, "ErrorPermission", 403, "ERROR_PERMISSION"},
	{chat.CodeNotFound, "NoSuchNode", 404, "ERROR_NO_SUCH_NODE"},
	{chat.CodeConflict, "DataCollision", 409, "ERROR_DATA_COLLISION"},
	{chat.CodeStaleEpoch, "DataCollision", 409, "ERROR_DATA_COLLISION"},
	{chat.CodeDisabled, "NodeDisabled", 410, "ERROR_NODE_DISABLED"},
	{chat.CodeNotJoined, "UserNotJoined", 412, "ERROR_USER_NOT_JOINED"},
	{chat.CodeTooLarge, "LimitExceeded", 413, "ERROR_LIMIT_EXCEEDED"},
	{chat.CodeUnsupported, "MsgNotSupported", 501, "ERROR_MSG_NOT_SUPPORTED"},
	{chat.CodeUnavailable, "DatabaseConnection", 503, "ERROR_DATABASE"},
	{"", "ServerError", 500, "ERROR_SERVER"},
}

// RespFor returns the code and text of a reply that refuses a command.
func RespFor(code chat.Code) (int, string) {
	last := len(results) - 1
	for i := range results[:last] {
		if results[i].refusal == code {
			return results[i].code, results[i].text
		}
	}
	return results[last].code, results[last].text
}
