package verbs

import (
	"net/http"
	"slices"

	"parley/projections/chat/roles"
)

// Group is the first word or words of verbs.
type Group struct{ Words, Short string }

// Groups are the objects, in the order of the help.
func Groups() []Group {
	return []Group{
		{"room", "Chat rooms"}, {"message", "Messages of a room: read, remove or replace them"}, {"category", "Categories of rooms: who may meet there"},
		{"hold", "Legal holds: messages that nobody can remove"},
		{"addin", "Add-ins: web pages that a room shows beside the conversation"}, {"user", "Accounts"}, {"group", "Groups of users and groups"},
		{"ou", "Organisational units: where accounts and groups live"}, {"policy", "Policies: who may use chat rooms at all"},
		{"config", "Configurations: limits of the pool; and configuration files of nodes"}, {"compliance", "Compliance configurations: what is archived, and how"},
		{"endpoint", "Further SIP addresses of the pool, for clients of earlier generations"}, {"admin", "Administrators and their roles"},
		{"admin token", "Tokens with which administrators sign in"}, {"pool servers", "Which nodes take new connections"},
	}
}

// Options of many verbs.
var (
	poolOption  = Option{Name: "persistent-chat-pool-fqdn", Value: "DOMAIN", Field: "pool", Query: true, Help: "refuse if the pool is another one than that of DOMAIN"}
	resultSize  = Option{Name: "result-size", Kind: Number, Value: "N", Max: 1<<31 - 1, Query: true, Help: "show at most so many", Default: "all"}
	asObject    = Option{Name: "as-object", Kind: Switch, Query: true, Help: "show principals with name, kind and distinguished name, not only their address"}
	revision    = Option{Name: "revision", Kind: Number, Value: "N", Help: "change only what was seen at this revision; refuse if somebody else was faster"}
	description = Option{Name: "description", Value: "TEXT", Help: "for people"}
	newName     = Option{Name: "name", Value: "NAME", Help: "another name"}
	globs       = Option{Name: "filter", Value: "PATTERN", Query: true, Help: "only identities that match, with * and ?"}
	force       = Option{Name: "force", Kind: Switch, Help: "do not ask"}
)

// Who says what a list of principals takes.
const Who = "SIP addresses, names of users and groups, distinguished names of groups and units, domain:NAME, or \"*\" for everyone"

const (
	principals = "ADDRESSES"
	scopeHelp  = "An identity is global, site:NAME, pool:DOMAIN (the product's service:PersistentChatServer:FQDN does too)"
)

func filter(help string) Option {
	return Option{Name: "filter", Value: "WORDS", Query: true, Help: help}
}

// query makes options parameters of the request.
func query(os ...Option) []Option {
	out := slices.Clone(os)
	for i := range out {
		out[i].Query, out[i].Default, out[i].Required = true, "", false
	}
	return out
}

var (
	roomType    = Option{Name: "type", Value: "TYPE", Values: []string{"normal", "auditorium"}, Default: "normal", Help: "normal, or auditorium, where only presenters post"}
	roomPrivacy = Option{Name: "privacy", Value: "PRIVACY", Values: []string{"open", "closed", "secret"}, Default: "closed",
		Help: "open: whom the category allows may join; closed: members only; secret: and nobody else sees it"}
	roomInvitations = Option{Name: "invitations", Value: "CHOICE", Values: []string{"inherit", "false"}, Default: "inherit", Help: "whether new members are invited: as the category has it, or not"}
	roomDisabled    = Option{Name: "disabled", Kind: Flag, Default: "false", Help: "nobody can be in it; its messages stay"}
	matching        = []Option{
		{Name: "filter", Value: "WORDS", Help: "only messages with these words, separated by blanks", Default: "all messages"},
		{Name: "match-clause", Value: "CLAUSE", Values: []string{"all", "or", "exact"}, Default: "all", Help: "all: every word; or: any of them; exact: the words as one phrase"},
		{Name: "case-sensitive", Kind: Flag, Default: "false", Help: "capitals count"},
		{Name: "start-date", Kind: Time, Value: "TIME", Help: "only posted then or later"},
		{Name: "end-date", Kind: Time, Value: "TIME", Help: "only posted then or earlier; a date alone is its first moment"},
		{Name: "user-uri", Kind: Words, Value: principals, Help: "only posted by one of these"},
	}
)

func rooms() []Verb {
	out := object{word: "room", noun: "room", arg: "ROOM", find: "name, ma-chan URI or GUID", path: "/rooms", nameKey: "name", nameFlag: "name",
		read: roles.RoomRead, create: roles.RoomCreate, change: roles.RoomChange, remove: roles.RoomRemove,
		makes: "Make a room in a category", shows: "Show a room (by name, ma-chan URI or GUID), or those that match", alters: "Change a room (by name, ma-chan URI or GUID)",
		drops: "Remove a room: its sessions end and its content is gone for readers", question: "Remove room %s with all its content, for good?",
		long: map[string]string{
			"new": "Members, managers and presenters must be allowed by the category. A room that is not open needs members to be of use.",
			"set": "Who may not be in the room any more after the change leaves it at once. Another category moves the room; entries of the lists\nthat the new category does not allow are dropped, as in the product.",
			"rm":  "Use --disabled with set to close a room and keep what was said in it. The log keeps what happened in either case.",
		},
		fields: []Option{
			{Name: "description", Value: "TEXT", Help: "for people, at most 1024 bytes"},
			{Name: "category", Value: "CATEGORY", Help: "by name or GUID"},
			roomType, roomPrivacy, roomInvitations,
			{Name: "addin", Field: "add_in", Value: "ADDIN", Help: "a registered add-in; \"\" for none"}, roomDisabled,
			{Name: "members", Kind: List, Value: principals, Help: "members"},
			{Name: "managers", Kind: List, Value: principals, Help: "managers"},
			{Name: "presenters", Kind: List, Value: principals, Help: "presenters of an auditorium; each must be a member"}, asObject,
		},
		onSet: []Option{newName},
		onGet: slices.Concat([]Option{filter("only rooms whose name has these words")},
			query(Option{Name: "search-description", Kind: Switch, Help: "look for the words in the description too"},
				Option{Name: "category", Value: "CATEGORY", Help: "only of this category"}, Option{Name: "addin", Field: "add_in", Value: "ADDIN", Help: "only with this add-in"},
				Option{Name: "manager", Value: "ADDRESS", Help: "only with this manager"}, Option{Name: "member", Value: "ADDRESS", Help: "only with this member"},
				roomPrivacy, roomType, roomInvitations,
				Option{Name: "disabled", Kind: Flag, Help: "only disabled rooms; false: only enabled ones"},
				Option{Name: "chat-content-exceeds-mb", Slow: true, Kind: Number, Value: "N", Max: 1<<31 - 1, Help: "only rooms whose messages have more than N times 1,048,576 bytes; they are all read for it"},
				both(asObject))),
		columns: []Column{{"NAME", "name"}, {"CATEGORY", "category"}, {"TYPE", "type"}, {"PRIVACY", "privacy"}, {"DISABLED", "disabled"}, {"MEMBERS", "members"},
			{"PRESENT", "participants"}, {"MESSAGES", "last_message_id"}, {"ROOM", "room"}},
	}.verbs()
	for i := range out[0].Options {
		if o := &out[0].Options[i]; o.Name == "category" {
			o.Required = true
		}
	}
	return append(out, Verb{Words: "room clear", Arg: One, ArgWord: "ROOM", ArgFlag: "identity", Short: "Remove all messages of a room up to a time",
		Long:   "The texts are erased from every node's log, history and search index; that they were there stays in the log, which still verifies.\n--what-if tells the event that would be written; `parley message get ROOM --end-date TIME` shows what would go.",
		Method: http.MethodPost, Path: "/rooms/{}/clear", Right: roles.MessageRemove, Slow: true, Question: "Remove messages of room %s up to that time, for good?",
		Options: []Option{{Name: "end-date", Kind: Time, Value: "TIME", Required: true, Help: "everything posted then or earlier goes; a date alone is its first moment"}},
		Done:    "{messages} messages of room {room} are removed"})
}

func messages() []Verb {
	return []Verb{
		{Words: "message get", Arg: One, ArgWord: "ROOM", ArgFlag: "identity", Short: "Show messages of a room, oldest first", Lines: true,
			Long:   "Reading messages as an administrator is an event in the log, written before anything is shown.",
			Method: http.MethodGet, Path: "/rooms/{}/messages", Right: roles.MessageRead,
			Options: append(query(matching...), resultSize)},
		{Words: "message rm", Arg: One, ArgWord: "ROOM", ArgFlag: "identity", Short: "Remove or replace messages of a room",
			Long: "Without --remove each message is replaced by a text. The original texts are erased from every node's log, history and search index;\n" +
				"that they were there stays in the log, which still verifies. Look first: `parley message get` takes the same filters, and\n--what-if tells which messages are meant.",
			Method: http.MethodPost, Path: "/rooms/{}/messages/remove", Right: roles.MessageRemove, Slow: true, Question: "Remove these messages of room %s, for good?",
			Options: slices.Concat([]Option{{Name: "remove", Kind: Switch, Help: "leave nothing in their place"},
				{Name: "replace-message", Value: "TEXT", Help: "what stands in their place", Default: "This message was replaced by the Persistent Chat administrator."}}, matching),
			Done: "{messages} messages of room {room} are removed or replaced"},
		{Words: "eligible", Short: "Show who could be put into the lists of a category or a room", Method: http.MethodGet, Path: "/eligible", Right: roles.EligibleRead,
			OneOf: [][]string{{"category", "room"}},
			Options: query(Option{Name: "category", Value: "CATEGORY", Help: "whom this category allows and does not deny"}, Option{Name: "room", Value: "ROOM", Help: "who could be a member of this room"},
				Option{Name: "presenters", Kind: Switch, Help: "who could present in the room, an auditorium"}, Option{Name: "filter", Value: "PATTERN", Help: "only addresses or names that match, with * and ?"},
				resultSize, poolOption),
			Columns: []Column{{"PRINCIPAL", "principal"}, {"KIND", "kind"}, {"NAME", "name"}, {"DISTINGUISHED-NAME", "distinguished_name"}}},
	}
}

func categories() []Verb {
	return append(object{word: "category", noun: "category", arg: "CATEGORY", find: "name or GUID", path: "/categories", nameKey: "name", nameFlag: "name",
		read: roles.CategoryRead, create: roles.CategoryChange,
		makes: "Make a category; nobody is allowed before --allowed-members-add", shows: "Show a category, or all", alters: "Change a category", drops: "Remove a category that has no rooms",
		question: "Remove category %s?",
		long: map[string]string{"set": "Who may not be in a room of the category any more leaves it at once. Denied wins over allowed.",
			"new": "A category says who can ever meet in its rooms: the allowed members without the denied ones."},
		fields: []Option{
			{Name: "description", Value: "TEXT", Help: "for people, at most 1024 bytes"},
			{Name: "allowed-members", Kind: List, Value: principals, Help: "allowed members"},
			{Name: "denied-members", Kind: List, Value: principals, Help: "denied members, who are denied even if allowed"},
			{Name: "creators", Kind: List, Value: principals, Help: "creators of rooms"},
			{Name: "retention", Field: "retention_days", Kind: Number, Value: "DAYS", Max: 36_525, Default: "0", Help: "how long messages of its rooms are kept; 0 for ever"}, asObject,
			{Name: "archive-lag", Value: "DURATION", Help: "nobody may post while a compliance feed is further behind than this, 1s to 720h; 0s: posting does not wait"},
			{Name: "archive-feeds", Kind: Words, Value: "FEEDS", Help: "feeds that count for --archive-lag; \"\" for all that cover the room"},
		},
		onNew: []Option{
			{Name: "enable-invitations", Field: "invitations", Kind: Switch, Help: "rooms may invite their new members"},
			{Name: "enable-file-upload", Field: "file_upload", Kind: Switch, Help: "files may be posted"},
			{Name: "remove-chat-history", Field: "chat_history", Kind: Switch, Inverse: true, Help: "messages are not kept for reading; compliance still gets them"},
		},
		onSet: []Option{newName,
			{Name: "invitations", Kind: Flag, Help: "rooms may invite their new members"},
			{Name: "file-upload", Kind: Flag, Help: "files may be posted"},
			{Name: "chat-history", Kind: Flag, Help: "messages are kept for reading; compliance gets them either way"}},
		onGet: []Option{both(asObject)},
		columns: []Column{{"NAME", "category"}, {"ROOMS", "rooms"}, {"ALLOWED", "allowed_members"}, {"DENIED", "denied_members"}, {"CREATORS", "creators"},
			{"INVITATIONS", "invitations"}, {"FILES", "file_upload"}, {"HISTORY", "chat_history"}, {"DAYS", "retention_days"}},
	}.verbs(), Verb{Words: "category purge", Arg: One, ArgWord: "CATEGORY", ArgFlag: "identity", ArgFind: "name or GUID", Short: "Purge what the category keeps no longer, now",
		Long: "It happens by itself once a day. --what-if says how many messages would go, how many a legal hold keeps, and how many wait for a\n" +
			"compliance feed; with --retention as if the category had another one. What is purged is erased from every node's log, history and\nsearch index once every feed has delivered the purge; that it was there stays in the log, which still verifies.",
		Method: http.MethodPost, Path: "/categories/{}/purge", Right: roles.MessageRemove, Slow: true, Question: "Purge old messages of category %s, for good?",
		Options: []Option{{Name: "retention", Field: "retention_days", Kind: Number, Value: "DAYS", Min: 1, Max: 36_525, Help: "with --what-if: as if it kept messages for so many days"}},
		Done:    "category {category}, up to {until}: {messages} messages in {rooms} rooms; a legal hold keeps {held}, {waiting} wait for a feed (event {offset})"})
}

func holds() []Verb {
	columns := []Column{{"HOLD", "hold"}, {"ROOMS", "rooms"}, {"CATEGORIES", "categories"}, {"AUTHORS", "user_uri"}, {"FROM", "start_date"}, {"TO", "end_date"},
		{"SET-BY", "set_by"}, {"SET-AT", "set_at"}, {"RELEASED", "released"}, {"REASON", "reason"}}
	released := Option{Name: "released", Kind: Switch, Query: true, Help: "those that were released too"}
	return []Verb{
		{Words: "hold set", Arg: One, ArgWord: "HOLD", ArgFlag: "identity", Short: "Set a legal hold, or change it",
			Long: "What a hold keeps can be neither removed nor replaced, and is not purged when its retention is over: such a command is refused,\nand the refusal names the hold. " +
				"Without options a hold keeps everything; each option narrows it. Rooms and categories are one\nset; a room counts for the category that it is in, and for the one it was in when a message came.",
			Method: http.MethodPut, Path: "/holds/{}", Right: roles.HoldChange,
			Options: []Option{{Name: "reason", Value: "TEXT", Help: "for people: the matter"},
				{Name: "rooms", Kind: Words, Value: "ROOMS", Help: "messages of these rooms; \"\" for all"},
				{Name: "categories", Kind: Words, Value: "CATEGORIES", Help: "messages of rooms of these categories; \"\" for all"},
				{Name: "user-uri", Kind: Words, Value: principals, Help: "posted by one of these; \"\" for all"},
				{Name: "start-date", Kind: Time, Value: "TIME", Help: "posted then or later"},
				{Name: "end-date", Kind: Time, Value: "TIME", Help: "posted then or earlier; a date alone is its first moment"},
				{Name: "from-offset", Kind: Number, Value: "N", Help: "recorded by this event or a later one"},
				{Name: "create", Kind: Switch, Help: "refuse if there is such a hold"}, revision}},
		{Words: "hold get", Arg: OneOrAll, ArgWord: "HOLD", ArgFlag: "identity", Short: "Show a legal hold, or all", Method: http.MethodGet, Path: "/holds", Right: roles.HoldRead,
			Options: []Option{released, resultSize}, Columns: columns},
		{Words: "hold list", Short: "List the legal holds", Method: http.MethodGet, Path: "/holds", Right: roles.HoldRead, Options: []Option{released, resultSize}, Columns: columns},
		{Words: "hold rm", Arg: One, ArgWord: "HOLD", ArgFlag: "identity", Short: "Release a legal hold", Long: "What it kept can be removed from now on, and is purged if its retention is over.",
			Method: http.MethodDelete, Path: "/holds/{}", Right: roles.HoldChange, Question: "Release legal hold %s?", Done: "hold {removed} is released (event {offset})",
			Options: []Option{{Name: "reason", Value: "TEXT", Query: true, Help: "for people"}}},
	}
}

func addIns() []Verb {
	url := Option{Name: "url", Value: "URL", Help: "http or https address of the page"}
	out := object{word: "addin", noun: "add-in", arg: "ADDIN", find: "name or GUID", path: "/add-ins", nameKey: "name", nameFlag: "name", read: roles.AddInRead, create: roles.AddInChange,
		makes: "Register an add-in", shows: "Show an add-in, or all", alters: "Change an add-in", drops: "Remove an add-in that no room uses", question: "Remove add-in %s?",
		fields: []Option{url}, onSet: []Option{newName}, columns: []Column{{"NAME", "add_in"}, {"URL", "url"}, {"ROOMS", "rooms"}, {"ID", "id"}}}.verbs()
	out[0].Options[0].Required = true
	return out
}

// ImportOptions are those of the imports of the directory. What they do is the program's business, not the API's.
var ImportOptions = []Option{
	{Name: "format", Value: "FORMAT", Values: []string{"csv", "ldif"}, Default: "by the name of the file", Help: "what the file is"},
	{Name: "lenient", Kind: Switch, Help: "leave members of groups out that are not in the directory"},
	{Name: "address-from", Kind: Words, Value: "ATTRIBUTES", Help: "LDIF: attributes with the SIP address, the first that is there", Default: "msRTCSIP-PrimaryUserAddress, proxyAddresses, mail"},
	{Name: "dry-run", Kind: Switch, Help: "the same as --what-if"},
}

func directory() []Verb {
	unit := Option{Name: "unit", Value: "DN", Help: "organisational unit that it lives in; \"\" for none"}
	out := object{word: "user", noun: "user", arg: "ADDRESS", find: "SIP address, or a name in the pool's domain", path: "/users", nameKey: "user", nameFlag: "identity",
		read: roles.UserRead, create: roles.UserChange,
		makes: "Make an account", shows: "Show an account, or those that match", alters: "Change an account", drops: "Remove an account: its sessions end, its roles are gone", question: "Remove user %s, with all his roles?",
		long: map[string]string{"set": "Who may not chat any more after the change leaves all rooms at once.",
			"new": "Without a password the account cannot sign in with one. An address without a domain is one of the pool's domain."},
		fields: []Option{
			{Name: "display-name", Value: "NAME", Help: "as others see it", Default: "the address without its domain"}, {Name: "email", Value: "ADDRESS", Help: "e-mail address"},
			{Name: "enable-persistent-chat", Kind: Flag, Default: "true", Help: "the account's own switch: may use chat rooms, unless a policy says otherwise"},
			{Name: "password", Kind: Password, Help: "1 to 1024 bytes"},
			{Name: "common-name", Field: "name", Value: "NAME", Help: "name in its organisational unit"}, {Name: "given-name", Value: "NAME", Help: "given name"},
			{Name: "surname", Value: "NAME", Help: "surname"}, {Name: "company", Value: "NAME", Help: "company"}, unit, asObject,
		},
		onGet: append(query(Option{Name: "filter", Value: "WORDS", Help: "only whose address or display name has these words"}, Option{Name: "member-of", Value: "PRINCIPAL", Help: "only who is in this group, unit or domain, however deep"},
			Option{Name: "policy", Value: "NAME", Help: "only who was granted this policy"}, Option{Name: "enabled", Kind: Flag, Help: "only who may chat; false: who may not"}), both(asObject)),
		columns: []Column{{"USER", "user"}, {"NAME", "display_name"}, {"EMAIL", "email"}, {"CHAT", "may_chat"}, {"POLICY", "policy"}, {"PASSWORD", "password_set"}},
	}.verbs()
	out = append(out, object{word: "group", noun: "group", arg: "GROUP", find: "name, GUID, group:GUID or distinguished name", path: "/groups", nameKey: "name", nameFlag: "name",
		read: roles.UserRead, create: roles.UserChange,
		makes: "Make a group", shows: "Show a group, or those that match", alters: "Change a group", drops: "Remove a group that no category names", question: "Remove group %s?",
		long:   map[string]string{"set": "Who loses a room with the group leaves it at once."},
		fields: []Option{description, {Name: "email", Value: "ADDRESS", Help: "e-mail address"}, unit, {Name: "members", Kind: List, Value: principals, Help: "members, users and groups"}, asObject},
		onSet:  []Option{newName},
		onGet: append(query(Option{Name: "filter", Value: "WORDS", Help: "only whose name or description has these words"},
			Option{Name: "member", Value: "PRINCIPAL", Help: "only groups that contain this principal, however deep"}), both(asObject)),
		columns: []Column{{"NAME", "name"}, {"MEMBERS", "members"}, {"USERS", "users"}, {"UNIT", "unit"}, {"GROUP", "group"}},
	}.verbs()...)
	return append(out, object{word: "ou", noun: "organisational unit", arg: "DN", find: "distinguished name, GUID or ou:GUID", path: "/units", nameKey: "name", nameFlag: "name",
		read: roles.UserRead, create: roles.UserChange,
		makes: "Make an organisational unit", shows: "Show an organisational unit, or those that match", alters: "Change or move an organisational unit",
		drops: "Remove an empty organisational unit that no category names", question: "Remove organisational unit %s?",
		fields: []Option{description, {Name: "parent", Value: "DN", Help: "unit that it is in; \"\" for the top"}}, onSet: []Option{newName},
		onGet:   []Option{filter("only whose distinguished name or description has these words")},
		columns: []Column{{"DN", "distinguished_name"}, {"DESCRIPTION", "description"}, {"USERS", "users"}, {"UNIT", "unit"}},
	}.verbs()...)
}

func policies() []Verb {
	out := object{word: "policy", noun: "policy", arg: "IDENTITY", path: "/policies", nameKey: "identity", nameFlag: "identity", setElse: "global",
		read: roles.PolicyRead, create: roles.PolicyChange,
		makes: "Make a policy for a site, the pool, or to be granted to users", shows: "Show a policy, or all", alters: "Change a policy; the global one if none is named",
		drops: "Remove a policy; the global one is reset", question: "Remove policy %s?", dropForce: true,
		long: map[string]string{
			"new": scopeHelp + ", or user:NAME (the product's\ntag:NAME, or NAME alone) for a policy that `parley policy grant` gives to users.",
			"set": scopeHelp + ", or user:NAME.\nThe most specific policy that holds for a user wins as a whole. Who may not chat any more leaves all rooms at once.",
			"rm":  "A policy that users were granted is refused without --force, which takes it from them."},
		fields:  []Option{{Name: "enable-persistent-chat", Kind: Flag, Default: "false", Help: "whom it holds for may use chat rooms"}, description},
		onGet:   []Option{globs},
		columns: []Column{{"IDENTITY", "identity"}, {"CHAT", "enable_persistent_chat"}, {"GRANTED", "granted"}, {"DESCRIPTION", "description"}},
	}.verbs()
	out = append(out, Verb{Words: "policy grant", Arg: Several, ArgWord: "ADDRESS", ArgFlag: "identity", ArgKey: "users", Short: "Give users a policy of their own, or take it away",
		Long: "All of the users get it or none. --policy-name \"\" takes away what they were given.", Method: http.MethodPost, Path: "/policies/grant", Right: roles.PolicyGrant,
		Options: []Option{{Name: "policy-name", Field: "policy", Value: "NAME", Required: true, Help: "a policy user:NAME; \"\" for none"}}})
	out = append(out, object{word: "config", noun: "configuration", arg: "IDENTITY", path: "/configurations", nameKey: "identity", nameFlag: "identity", setElse: "global",
		read: roles.ConfigurationRead, create: roles.ConfigurationChange,
		makes: "Make a configuration for a site or the pool", shows: "Show a configuration, or all", alters: "Change a configuration; the global one if none is named",
		drops: "Remove a configuration; the global one is reset to the defaults", question: "Remove configuration %s?",
		long: map[string]string{"new": scopeHelp + ".", "set": scopeHelp + ".\nThe most specific configuration wins as a whole: pool, then site, then global."},
		fields: []Option{
			{Name: "default-chat-history", Kind: Number, Value: "N", Min: 1, Max: 500, Default: "30", Help: "messages that a client gets when it joins"},
			{Name: "max-file-size-kb", Kind: Number, Value: "N", Max: 1<<32 - 1, Default: "20000", Help: "largest file, in kilobytes"},
			{Name: "participant-update-limit", Kind: Number, Value: "N", Max: 1_000_000, Default: "75", Help: "rooms with more users in them show no roster"},
			{Name: "room-management-url", Value: "URL", Help: "your own pages for managing rooms", Default: "the pool's pages"},
			{Name: "message-size-limit", Kind: Number, Value: "N", Min: 128, Max: 64_000, Default: "8000", Help: "bytes of text in a message"},
			{Name: "story-size-limit", Kind: Number, Value: "N", Min: 128, Max: 64_000, Default: "64000", Help: "bytes of text in a story"},
			{Name: "search-limit", Kind: Number, Value: "N", Min: 1, Max: 10_000, Default: "999", Help: "results of one search"},
		},
		onGet: []Option{globs},
		columns: []Column{{"IDENTITY", "identity"}, {"HISTORY", "default_chat_history"}, {"FILE-KB", "max_file_size_kb"}, {"ROSTER", "participant_update_limit"},
			{"MESSAGE", "message_size_limit"}, {"STORY", "story_size_limit"}, {"SEARCH", "search_limit"}, {"URL", "room_management_url"}, {"HOLDS", "effective"}},
	}.verbs()...)
	return append(out, object{word: "compliance", noun: "compliance configuration", arg: "IDENTITY", path: "/compliance", nameKey: "identity", nameFlag: "identity", setElse: "global",
		read: roles.ComplianceRead, create: roles.ComplianceChange,
		makes: "Make a compliance configuration for a site or the pool", shows: "Show a compliance configuration, or all", alters: "Change a compliance configuration; the global one if none is named",
		drops: "Remove a compliance configuration; the global one is reset", question: "Remove compliance configuration %s?",
		long: map[string]string{"new": scopeHelp + ".", "set": scopeHelp + ".\nThe most specific one wins as a whole: pool, then site, then global."},
		fields: []Option{
			{Name: "adapter-name", Value: "NAME", Help: "label of the adapter"},
			{Name: "adapter-type", Value: "TYPE", Help: "which adapter; without one this configuration archives nothing", Default: "none"},
			{Name: "adapter-output-directory", Value: "DIR", Help: "where its files go, one directory per adapter"},
			{Name: "run-interval", Value: "TIME", Help: "between two runs, 1 minute to 30 days, as 15m, 1h30m or [days.]hh:mm:ss", Default: "00:15:00"},
			{Name: "one-chat-room-per-output-file", Kind: Flag, Default: "false", Help: "a file for each room"},
			{Name: "add-chat-room-details", Kind: Flag, Default: "false", Help: "more about each room"},
			{Name: "add-user-details", Kind: Flag, Default: "false", Help: "more about each user; files may get much larger"},
			{Name: "create-file-attachments-manifest", Kind: Flag, Default: "false", Help: "files beside the output that list transferred files"},
			{Name: "custom-configuration", Value: "XSLT", Help: "script that reshapes the XML"},
		},
		onGet: []Option{globs},
		columns: []Column{{"IDENTITY", "identity"}, {"ADAPTER", "adapter_name"}, {"TYPE", "adapter_type"}, {"DIRECTORY", "adapter_output_directory"}, {"INTERVAL", "run_interval"},
			{"HOLDS", "effective"}},
	}.verbs()...)
}

func poolVerbs() []Verb {
	out := object{word: "endpoint", noun: "endpoint", arg: "ADDRESS", find: "SIP address", path: "/endpoints", nameKey: "sip_address", nameFlag: "sip-address",
		read: roles.EndpointRead, create: roles.EndpointChange, makes: "Give the pool another SIP address", shows: "Show an address, or all", drops: "Take an address away from the pool",
		question: "Take the address %s away from the pool?", fields: []Option{{Name: "display-name", Value: "NAME", Help: "as contact lists show it"}}, onGet: []Option{globs},
		columns: []Column{{"ENDPOINT", "endpoint"}, {"NAME", "display_name"}}}.verbs()
	return append(out,
		Verb{Words: "admin get", Arg: OneOrAll, ArgWord: "ADMIN", ArgFlag: "identity", Short: "Show an administrator, or all", Method: http.MethodGet, Path: "/admins", Right: roles.AdminRead,
			Columns: []Column{{"ADMIN", "admin"}, {"ROLES", "roles[]"}, {"TOKENS", "tokens"}, {"CONFIGURED", "configured"}}},
		Verb{Words: "admin set", Arg: One, ArgWord: "ADMIN", ArgFlag: "identity", Short: "Give an administrator roles, or take them away",
			Long:   "ADMIN is a name, or the address of an account. Roles: administrator does everything; auditor reads everything and changes\nnothing; operator keeps the pool running and sees no content; user-administrator looks after accounts, groups and who may chat.",
			Method: http.MethodPatch, Path: "/admins/{}", Right: roles.AdminChange, Options: []Option{{Name: "roles", Kind: List, Value: "ROLES", Help: "roles"}}},
		Verb{Words: "admin self", Short: "Show who you are and what you may do", Method: http.MethodGet, Path: "/self"},
		Verb{Words: "admin token get", Arg: OneOrAll, ArgWord: "TOKEN", ArgFlag: "identity", Short: "Show a token (by GUID), or those that the pool issued", Method: http.MethodGet, Path: "/admin-tokens",
			Right: roles.AdminRead, Options: append(query(Option{Name: "admin", Value: "ADMIN", Help: "only of this administrator"}), resultSize, both(poolOption)),
			Columns: []Column{{"TOKEN", "token"}, {"ADMIN", "admin"}, {"ROLES", "roles[]"}, {"ISSUED", "issued_at"}, {"EXPIRES", "expires"}, {"EXPIRED", "expired"}, {"DESCRIPTION", "description"}}},
		Verb{Words: "admin token rm", Arg: One, ArgWord: "TOKEN", ArgFlag: "identity", Short: "Revoke a token", Method: http.MethodDelete, Path: "/admin-tokens/{}", Right: roles.AdminChange,
			Question: "Revoke token %s?", Done: "token {removed} is revoked (event {offset})"},
		Verb{Words: "pool get", Short: "Show domain, address, site and leader of the pool", Method: http.MethodGet, Path: "/pool", Right: roles.PoolRead, Options: []Option{poolOption}},
		Verb{Words: "pool set", Short: "Say which site the pool belongs to", Method: http.MethodPatch, Path: "/pool", Right: roles.PoolChange,
			Options: []Option{{Name: "site", Value: "NAME", Help: "policies and configurations of site:NAME hold for the pool; \"\" for none"}}},
		Verb{Words: "pool servers get", Short: "Show which nodes take new connections", Method: http.MethodGet, Path: "/active-servers", Right: roles.PoolRead, Options: []Option{poolOption}},
		Verb{Words: "pool servers set", Short: "Say which nodes take new connections", Long: "The other nodes take none, and go on serving those they have.",
			Method: http.MethodPatch, Path: "/active-servers", Right: roles.PoolChange,
			Options: []Option{{Name: "active-servers", Kind: List, Value: "NODES", Help: "active nodes"}, {Name: "swap", Kind: Switch, Help: "exchange the active and the idle nodes"}}},
	)
}

// Levels of an export.
var Levels = []string{"all", "user", "category", "roomdirectory", "content"}

// TokenOptions are those of `admin token new`, which makes the token itself and sends its hash.
var TokenOptions = []Option{
	{Name: "roles", Kind: Words, Value: "ROLES", Help: "roles that the administrator gets besides those he has"},
	{Name: "expires", Kind: Time, Value: "TIME", Help: "when it ends", Default: "never"},
	{Name: "description", Value: "TEXT", Help: "for people"},
	{Name: "token-file", Value: "FILE", Help: "write the token there, for nobody else to read, and do not print it"},
}

// ExportOptions are those of `data export`.
var ExportOptions = []Option{
	{Name: "file-name", Value: "FILE", Help: "instead of the argument; - is standard output"},
	{Name: "level", Value: "LEVEL", Values: Levels, Default: "all", Help: "what to export"},
	{Name: "scope", Kind: Words, Value: "CATEGORIES", Help: "only these categories, their rooms and messages", Default: "all"},
	{Name: "start-date", Kind: Time, Value: "TIME", Help: "only messages posted then or later"},
	{Name: "disable-exported-nodes", Kind: Switch, Help: "disable the exported rooms when the archive is complete"},
	{Name: "report", Value: "FILE", Help: "write what was exported as a page of HTML"},
	force,
}

// DataImportOptions are those of `data import`.
var DataImportOptions = []Option{
	{Name: "file-name", Value: "FILE", Help: "instead of the argument; - is standard input"},
	{Name: "report", Value: "FILE", Help: "write what was imported, or why not, as a page of HTML"},
	{Name: "dry-run", Kind: Switch, Help: "the same as --what-if"},
}

// All returns every verb that is nothing but a request.
func All() []Verb {
	return slices.Concat(rooms(), messages(), categories(), holds(), addIns(), directory(), policies(), poolVerbs())
}

// Flags returns the names of the options that take true or false, so that both --x true and --x=true can be read.
func Flags() (out []string) {
	for _, v := range All() {
		for _, o := range v.Options {
			if o.Kind == Flag && !slices.Contains(out, "--"+o.Name) {
				out = append(out, "--"+o.Name)
			}
		}
	}
	return out
}
