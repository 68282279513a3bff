// Package chat holds the rules: what state the pool's rooms are in, how an event changes it (Fold), and which
// events a command leads to (Decide). It is pure: no clock, no random source, no I/O, no logging; every fact from
// outside is an argument.
//
// # Commands
//
// Who may give a command is in one table (RightOf): users with their rights in the room, or administrators with a role
// of package roles. Commands are decided whole or not at all, but for joins and parts of several rooms, whose refused
// rooms are in Result.Refused.
//
//	Join, Part             sessions of (By, Endpoint) in rooms
//	Post                   text, RTF companion, alert, story with title, links
//	ReadHistory            the last n messages, or a range of ids; Result.First, Result.Last
//	SearchMessages         records a search and how much it showed
//	ReadInvitations        By has seen his invitations up to an id
//	PublishSetting,        presence publications; preferences of older clients are settings too
//	RemoveSetting
//	CreateRoom, ChangeRoom fields (RoomInfo) and roles (Access, exactly these per principal; role 0 takes all away);
//	                       disable and enable are the field Disabled, a move is the field Category. Revision 0 skips R13
//	RemoveRoom             the room and its content
//	CreateCategory, ChangeCategory, RemoveCategory
//	CreateAddIn, ChangeAddIn, RemoveAddIn
//	RemoveMessages         listed by id and offset, removed or replaced; ClearRoom: all up to a time
//	SetHold, ReleaseHold   legal holds: what they keep no command removes
//	PurgeMessages          messages that their category keeps no longer
//	SetPolicy, RemovePolicy, GrantPolicy
//	SetConfiguration, RemoveConfiguration, SetCompliance, RemoveCompliance
//	ChangeAdmin            roles of an administrator
//	SetEndpoint, RemoveEndpoint, SetActiveServers, PlacePool
//	CreateUser ... ImportDirectory: accounts, groups, organisational units
//	FormPool, StartNode, LoseNode, ClaimFeed, CutFeed, ReceiptFeed: the pool in its own name
//
// # What State answers
//
//	Rights, RoomsOf, MayCreateIn, Creatable     rights of a user in a room, his rooms, where he may create one
//	Enabled                                     whether a user may use persistent chat at all (R15)
//	Room, RoomByName, Rooms, Access, Role, Roster, Sessions...
//	Category, CategoryByName, Categories, AddIn, AddIns
//	Policies (policy.Book: For, Enabled, Limits, Archiving, and every scope)
//	Invitations, Endpoints, ActiveServers, Site, AdminRoles, Admins
//
// # Refusals
//
// A refusal has a Code (the class, for errors.Is and the tables of the edges), a line of text, and where they apply the
// room, the rule that was broken and the principal that it is about:
//
//	R1   a principal is outside the category: not allowed there, or denied (deny wins)
//	R2   whoever creates a room must be a creator of its category
//	R3   (defaults of a new room; nothing is refused)
//	R4   only administrators remove rooms; only managers change them
//	R5   who is no member does not join, managers included; a presenter must be a member
//	R6   in an auditorium only presenters post; only auditoriums have presenters
//	R7   the room is disabled
//	R8   (who loses his membership leaves; nothing is refused)
//	R9   only administrators remove messages
//	R10  a room is moved by administrators, and by its managers who are creators of the other category
//	R11  invitations of a room are "inherit" or "false": it cannot turn on what its category turned off
//	R12  the name is taken: of a room, a category, an add-in
//	R13  it was changed meanwhile (data collision): read again
//	R14  (history off: nothing is kept for reading; nothing is refused)
//	R15  the user has no account, or no policy lets him use persistent chat
//	A1   the administrator lacks a role
//	H1   a legal hold keeps the message, or may keep messages of the room
//	D1...  rules of the directory (package directory)
package chat
