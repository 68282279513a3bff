package verbs

import "strings"

// Cmdlet is a cmdlet of the product with the verb that does it.
type Cmdlet struct {
	Name   string
	Verb   string            // empty: none
	Params string            // all of its own, without those of the shell
	Notes  map[string]string // what stands for a parameter that is no option of its name
	Note   string            // about the cmdlet
}

// Common says what stands for parameters of many cmdlets, where a verb has no option of that name.
var Common = map[string]string{
	"Identity":               "the argument",
	"Instance":               "none: objects do not come through a pipe here, they are named",
	"Confirm":                "a terminal is asked before something is lost; --force says yes",
	"WhatIf":                 "--what-if",
	"Force":                  "--force",
	"InMemory":               "none: what is to be stored later is a script here",
	"LocalStore":             "--server: every node answers from its own copy",
	"Tenant":                 "none: there are no tenants",
	"PassThru":               "not needed: what was changed is always shown",
	"PersistentChatPoolFqdn": "--server or --dir name the pool",
	"DomainController":       "none: the directory is in the pool",
	"Report":                 "--report",
}

const scopeNote = "the argument: global, site:NAME, pool:DOMAIN or service:PersistentChatServer:FQDN"

// Cmdlets are all cmdlets of the product that are about persistent chat.
var Cmdlets = []Cmdlet{
	{Name: "New-CsPersistentChatRoom", Verb: "room new", Params: "Name Category PersistentChatPoolFqdn Description Type Privacy Invitations Addin Disabled"},
	{Name: "Set-CsPersistentChatRoom", Verb: "room set", Params: "Identity Instance Name Description Category Privacy Type Invitations Addin Disabled Managers Members Presenters AsObject Force Confirm WhatIf"},
	{Name: "Get-CsPersistentChatRoom", Verb: "room get", Params: "Identity Filter SearchDescription Category Addin Manager Member Privacy Type Invitations Disabled ChatContentExceedsMB ResultSize PersistentChatPoolFqdn AsObject"},
	{Name: "Remove-CsPersistentChatRoom", Verb: "room rm", Params: "Identity Instance Force Confirm WhatIf"},
	{Name: "Clear-CsPersistentChatRoom", Verb: "room clear", Params: "Identity Instance EndDate Confirm WhatIf"},
	{Name: "Remove-CsPersistentChatMessage", Verb: "message rm", Params: "Identity Remove ReplaceMessage Filter MatchClause CaseSensitive StartDate EndDate UserUri Confirm WhatIf"},
	{Name: "Test-CsPersistentChatMessage", Verb: "test message", Params: "TargetFqdn SenderSipAddress ReceiverSipAddress SenderCredential ReceiverCredential Authentication ChatRoomUri RegistrarPort Setup TestUser1SipAddress TestUser2SipAddress OutLoggerVariable OutVerboseVariable Force",
		Notes: map[string]string{"TargetFqdn": "--target, --server or --dir", "SenderCredential": "--sender-password-file", "ReceiverCredential": "--receiver-password-file",
			"Authentication": "as the pool asks: digest, or none on loopback", "RegistrarPort": "the node says it", "Setup": "not needed: the test needs nothing but the pool's address",
			"TestUser1SipAddress": "--sender-sip-address", "TestUser2SipAddress": "--receiver-sip-address", "OutLoggerVariable": "--json", "OutVerboseVariable": "--json", "Force": "not needed: nothing is asked"}},
	{Name: "New-CsPersistentChatCategory", Verb: "category new", Params: "Name PersistentChatPoolFqdn Description EnableInvitations EnableFileUpload RemoveChatHistory"},
	{Name: "Set-CsPersistentChatCategory", Verb: "category set", Params: "Identity Instance AllowedMembers DeniedMembers Creators ChatHistory FileUpload Invitations Name Description AsObject Confirm WhatIf"},
	{Name: "Get-CsPersistentChatCategory", Verb: "category get", Params: "Identity PersistentChatPoolFqdn AsObject"},
	{Name: "Remove-CsPersistentChatCategory", Verb: "category rm", Params: "Identity Instance Confirm WhatIf"},
	{Name: "Get-CsPersistentChatEligiblePrincipal", Verb: "eligible", Params: "Category Room Presenters Filter ResultSize PersistentChatPoolFqdn"},
	{Name: "New-CsPersistentChatAddin", Verb: "addin new", Params: "Name Url PersistentChatPoolFqdn"},
	{Name: "Set-CsPersistentChatAddin", Verb: "addin set", Params: "Identity Instance Name Url Confirm WhatIf"},
	{Name: "Get-CsPersistentChatAddin", Verb: "addin get", Params: "Identity PersistentChatPoolFqdn"},
	{Name: "Remove-CsPersistentChatAddin", Verb: "addin rm", Params: "Identity Instance Force Confirm WhatIf"},
	{Name: "New-CsPersistentChatEndpoint", Verb: "endpoint new", Params: "PersistentChatPoolFqdn SipAddress DisplayName PassThru Confirm WhatIf"},
	{Name: "Get-CsPersistentChatEndpoint", Verb: "endpoint get", Params: "Identity PersistentChatPoolFqdn Filter LdapFilter OU DomainController Credential ResultSize",
		Notes: map[string]string{"LdapFilter": "--filter", "OU": "none: an endpoint is an address of the pool, not an object of a directory", "Credential": "--credentials"}},
	{Name: "Remove-CsPersistentChatEndpoint", Verb: "endpoint rm", Params: "Identity Force Confirm WhatIf"},
	{Name: "New-CsPersistentChatConfiguration", Verb: "config new", Params: "Identity DefaultChatHistory MaxFileSizeKB ParticipantUpdateLimit RoomManagementUrl Force Confirm WhatIf InMemory", Notes: map[string]string{"Identity": scopeNote}},
	{Name: "Set-CsPersistentChatConfiguration", Verb: "config set", Params: "Identity DefaultChatHistory MaxFileSizeKB ParticipantUpdateLimit RoomManagementUrl Force Confirm WhatIf Instance", Notes: map[string]string{"Identity": scopeNote}},
	{Name: "Get-CsPersistentChatConfiguration", Verb: "config get", Params: "Identity Filter LocalStore", Notes: map[string]string{"Identity": scopeNote}},
	{Name: "Remove-CsPersistentChatConfiguration", Verb: "config rm", Params: "Identity Force Confirm WhatIf", Notes: map[string]string{"Identity": scopeNote}},
	{Name: "New-CsPersistentChatComplianceConfiguration", Verb: "compliance new", Notes: map[string]string{"Identity": scopeNote},
		Params: "Identity AdapterName AdapterType AdapterOutputDirectory RunInterval OneChatRoomPerOutputFile AddChatRoomDetails AddUserDetails CreateFileAttachmentsManifest CustomConfiguration Force Confirm WhatIf InMemory"},
	{Name: "Set-CsPersistentChatComplianceConfiguration", Verb: "compliance set", Notes: map[string]string{"Identity": scopeNote},
		Params: "Identity AdapterName AdapterType AdapterOutputDirectory RunInterval OneChatRoomPerOutputFile AddChatRoomDetails AddUserDetails CreateFileAttachmentsManifest CustomConfiguration Force Confirm WhatIf Instance"},
	{Name: "Get-CsPersistentChatComplianceConfiguration", Verb: "compliance get", Params: "Identity Filter LocalStore", Notes: map[string]string{"Identity": scopeNote}},
	{Name: "Remove-CsPersistentChatComplianceConfiguration", Verb: "compliance rm", Params: "Identity Force Confirm WhatIf", Notes: map[string]string{"Identity": scopeNote}},
	{Name: "New-CsPersistentChatPolicy", Verb: "policy new", Params: "Identity EnablePersistentChat Description Tenant Force Confirm WhatIf InMemory", Notes: map[string]string{"Identity": scopeNote + "; for users user:NAME, tag:NAME or NAME"}},
	{Name: "Set-CsPersistentChatPolicy", Verb: "policy set", Params: "Identity EnablePersistentChat Description Tenant Force Confirm WhatIf Instance", Notes: map[string]string{"Identity": scopeNote + "; for users user:NAME, tag:NAME or NAME"}},
	{Name: "Get-CsPersistentChatPolicy", Verb: "policy get", Params: "Identity Filter LocalStore Tenant", Notes: map[string]string{"Identity": scopeNote + "; for users user:NAME, tag:NAME or NAME"}},
	{Name: "Remove-CsPersistentChatPolicy", Verb: "policy rm", Params: "Identity Force Tenant Confirm WhatIf", Notes: map[string]string{"Identity": scopeNote + "; for users user:NAME, tag:NAME or NAME"}},
	{Name: "Grant-CsPersistentChatPolicy", Verb: "policy grant", Params: "Identity PolicyName DomainController PassThru Confirm WhatIf", Notes: map[string]string{"Identity": "the arguments, several users at once"}},
	{Name: "Get-CsPersistentChatState", Verb: "pool status", Params: "Identity Filter LocalStore", Notes: map[string]string{"Identity": "--server or --dir name the pool", "Filter": "none: there is one pool"},
		Note: "there is no second database to fail over to; nodes take over from each other by themselves"},
	{Name: "Set-CsPersistentChatState", Verb: "pool transfer", Params: "Identity Instance PoolState Force Confirm WhatIf", Notes: map[string]string{"Identity": "--server or --dir name the pool", "PoolState": "the argument: who shall lead"},
		Note: "fails over by itself; a planned change is to hand leadership over"},
	{Name: "Set-CsPersistentChatActiveServer", Verb: "pool servers set", Params: "Identity ActiveServers Swap Force Confirm WhatIf", Notes: map[string]string{"Identity": "--server or --dir name the pool"}},
	{Name: "Export-CsPersistentChatData", Verb: "data export", Params: "DBInstance DBName FileName AsBytes Level Scope StartDate DisableExportedNodes Report",
		Notes: map[string]string{"DBInstance": "--server or --dir name the pool", "DBName": "none: a pool has one log", "AsBytes": "- as the file: standard output"}},
	{Name: "Import-CsPersistentChatData", Verb: "data import", Params: "DBInstance FileName ByteInput Report Confirm WhatIf",
		Notes: map[string]string{"DBInstance": "--server or --dir name the pool", "ByteInput": "- as the file: standard input", "Confirm": "--what-if first; nothing is asked"}},
}

// Kebab returns the option of a parameter: ChatContentExceedsMB is chat-content-exceeds-mb.
func Kebab(param string) string {
	var b strings.Builder
	upper := func(i int) bool { return i >= 0 && i < len(param) && param[i] >= 'A' && param[i] <= 'Z' }
	for i := range len(param) {
		// A capital begins a word, unless it goes on with capitals: the B of MB.
		if upper(i) && i > 0 && (!upper(i-1) || i+1 < len(param) && !upper(i+1)) {
			b.WriteByte('-')
		}
		b.WriteByte(param[i])
	}
	return strings.ToLower(b.String())
}
