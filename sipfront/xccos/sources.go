package xccos

import "parley/sipfront/xccos/xmlcode"

// Where the names come from. The text and the schema of [MS-XCCOSIP] are not in public reach, so each name is taken
// from what is: programs that speak the language, documents beside it, and memory. A name marked recalled or ours may
// be wrong; nothing but its one line here has to change then.
const (
	sipeEnvelope xmlcode.Source = "pidgin-sipe sipe-groupchat.c, generate_xccos_message"
	sipeURI      xmlcode.Source = "pidgin-sipe sipe-groupchat.c, chatserver_response_uri"
	sipeChanID   xmlcode.Source = "pidgin-sipe sipe-groupchat.c, generate_chanid_node"
	sipeInvite   xmlcode.Source = "pidgin-sipe sipe-groupchat.c, sipe_groupchat_invite_response"
	sipeJoin     xmlcode.Source = "pidgin-sipe sipe-groupchat.c, chatserver_response_join"
	sipeNotice   xmlcode.Source = "pidgin-sipe sipe-groupchat.c, chatserver_notice_join"
	sipeParted   xmlcode.Source = "pidgin-sipe sipe-groupchat.c, chatserver_notice_part"
	sipeLeave    xmlcode.Source = "pidgin-sipe sipe-groupchat.c, sipe_groupchat_leave"
	sipeHistory  xmlcode.Source = "pidgin-sipe sipe-groupchat.c, chatserver_response_history"
	sipeQuery    xmlcode.Source = "pidgin-sipe sipe-groupchat.c, sipe_core_groupchat_query_rooms"
	sipeSearch   xmlcode.Source = "pidgin-sipe sipe-groupchat.c, chatserver_response_channel_search"
	sipeSend     xmlcode.Source = "pidgin-sipe sipe-groupchat.c, sipe_groupchat_send"
	sipeNotes    xmlcode.Source = "pidgin-sipe sipe-groupchat.c, notes at its head"
	capture      xmlcode.Source = "SfBServerEnforcer XCCosContent.cs, captures"
	interceptor  xmlcode.Source = "SfBServerEnforcer CSIPParser.cs"
	ocsprot      xmlcode.Source = "[MS-OCSPROT] 2.5.21"
	xccosip      xmlcode.Source = "[MS-XCCOSIP] 3.1.7 and 3.2.5, as pidgin-sipe cites them"
	signIn       xmlcode.Source = "Lync Server 2013, How Persistent Chat Server works"
	recalled     xmlcode.Source = "recalled, no public source"
	ours         xmlcode.Source = "our own design, nothing is known"
)
