package objects

import (
	"context"
	"iter"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/policy"
	"parley/projections/chat/roles"
)

// scopeParams are the filter of the product's Get cmdlets for policies and configurations.
var scopeParams = []Param{{Name: "filter", Doc: "only identities that match, with * and ?"}}

const scopeIdentity = "scope: global, site:NAME, pool:DOMAIN (the product's service:PersistentChatServer:NAME), and for policies user:NAME (its tag:NAME)"

// ScopeOf reads the identity of something that is set for a scope.
func ScopeOf(identity string) (event.Scope, error) {
	s, err := policy.ParseScope(identity)
	if err != nil {
		return "", chat.Refuse(chat.CodeInvalid, "%v", err)
	}
	return s, nil
}

// newScope reads the identity of something new.
func newScope(identity *string) (event.Scope, error) {
	if identity == nil {
		return "", chat.Refuse(chat.CodeInvalid, "something new needs an identity: site:NAME, pool:DOMAIN, or for a policy user:NAME")
	}
	return ScopeOf(*identity)
}

// notInChange refuses an identity in a change of what has one.
func notInChange(identity *string) error {
	if identity != nil {
		return chat.Refuse(chat.CodeInvalid, "an identity cannot be changed; make a new one")
	}
	return nil
}

// findScoped finds what is set for a scope.
func findScoped[V any](what, identity string, get func(event.Scope) (V, bool)) (V, error) {
	var none V
	scope, err := ScopeOf(identity)
	if err != nil {
		return none, err
	}
	v, ok := get(scope)
	if !ok {
		return none, chat.Refuse(chat.CodeNotFound, "no %s of scope %s", what, scope)
	}
	return v, nil
}

// listScoped lists what is set for scopes that match the filter. The global one is always there: with the defaults if
// nobody set it.
func listScoped[V any](filter string, all iter.Seq[V], global func(event.Scope) (V, bool), scope func(V) event.Scope) (out []V) {
	take := func(v V) {
		if Glob(filter, string(scope(v))) {
			out = append(out, v)
		}
	}
	seen := false
	for v := range all {
		seen = seen || scope(v) == policy.Global
		take(v)
	}
	if g, ok := global(policy.Global); ok && !seen {
		take(g)
	}
	return out
}

// Policy says who may use persistent chat.
type Policy struct {
	Identity             event.Scope  `json:"identity"`
	EnablePersistentChat bool         `json:"enable_persistent_chat"`
	Description          string       `json:"description"`
	Granted              int          `json:"granted" doc:"users who were given it"`
	Revision             event.Offset `json:"revision" doc:"0: never set, the accounts' own switches decide"`
}

// PolicyChange is the body of POST and PATCH; what is absent stays as it is, or gets the product's default: not enabled.
type PolicyChange struct {
	Identity             *string `json:"identity,omitempty" doc:"POST only"`
	EnablePersistentChat *bool   `json:"enable_persistent_chat,omitempty"`
	Description          *string `json:"description,omitempty"`
	Seen
}

// Policies are one kind of object.
func Policies() *Resource[policy.Policy, Policy, PolicyChange, *PolicyChange] {
	apply := func(c *PolicyChange, i event.PolicyInfo) event.PolicyInfo {
		Set(&i.Enabled, c.EnablePersistentChat)
		Set(&i.Description, c.Description)
		return i
	}
	get := func(s *chat.State) func(event.Scope) (policy.Policy, bool) {
		return func(scope event.Scope) (policy.Policy, bool) {
			p, ok := s.Policies().Policy(scope)
			if !ok && scope == policy.Global {
				return policy.Policy{Scope: scope}, true
			}
			return p, ok
		}
	}
	return &Resource[policy.Policy, Policy, PolicyChange, *PolicyChange]{
		Path: "/policies", Key: "scope", Noun: "policy", Identity: scopeIdentity,
		Read: roles.PolicyRead, Create: roles.PolicyChange, Change: roles.PolicyChange, Remove: roles.PolicyChange,
		Lists: "Policies, by scope", Makes: "Make a policy for a scope", Alters: "Change a policy; who may not chat any more leaves all rooms",
		Drops:      "Remove a policy; the global one is reset",
		ListParams: scopeParams, RmParams: []Param{{Name: "force", Kind: "boolean", Doc: "also if users were given it"}},
		Find: func(s *chat.State, identity string) (policy.Policy, error) {
			return findScoped("policy", identity, get(s))
		},
		List: func(_ context.Context, s *chat.State, q url.Values) ([]policy.Policy, error) {
			return listScoped(q.Get("filter"), s.Policies().Policies(), get(s), func(p policy.Policy) event.Scope { return p.Scope }), nil
		},
		Order:    func(p Policy) string { return string(p.Identity) },
		ID:       func(p policy.Policy) string { return string(p.Scope) },
		Name:     func(p policy.Policy) string { return string(p.Scope) },
		Revision: func(p policy.Policy) event.Offset { return p.Revision },
		Show: func(v View, p policy.Policy) Policy {
			out := Policy{Identity: p.Scope, EnablePersistentChat: p.Info.Enabled, Description: p.Info.Description, Revision: p.Revision}
			for g := range v.State.Policies().Grants() {
				if g.Scope == p.Scope {
					out.Granted++
				}
			}
			return out
		},
		Make: func(_ *chat.State, c *PolicyChange) (chat.Command, error) {
			scope, err := newScope(c.Identity)
			return &chat.SetPolicy{Scope: scope, Info: apply(c, event.PolicyInfo{}), Create: true}, err
		},
		Made: func(_ *chat.State, c *PolicyChange, _ chat.Result) string { return *c.Identity },
		Alter: func(_ *chat.State, p policy.Policy, c *PolicyChange, revision event.Offset) (chat.Command, error) {
			return &chat.SetPolicy{Scope: p.Scope, Info: apply(c, p.Info), Revision: revision}, notInChange(c.Identity)
		},
		Drop: func(p policy.Policy, q url.Values) (chat.Command, error) {
			return &chat.RemovePolicy{Scope: p.Scope, Force: q.Get("force") == "true"}, nil
		},
	}
}

// Configuration are the settings of a scope.
type Configuration struct {
	Identity               event.Scope  `json:"identity"`
	DefaultChatHistory     uint64       `json:"default_chat_history" doc:"messages that a client gets at a join, 1 to 500"`
	MaxFileSizeKB          uint64       `json:"max_file_size_kb"`
	ParticipantUpdateLimit uint64       `json:"participant_update_limit" doc:"a room with more users shows no roster"`
	RoomManagementURL      string       `json:"room_management_url" doc:"empty: the pool's own pages"`
	MessageSizeLimit       uint64       `json:"message_size_limit" doc:"bytes of UTF-8 text"`
	StorySizeLimit         uint64       `json:"story_size_limit" doc:"bytes of UTF-8 text"`
	SearchLimit            uint64       `json:"search_limit" doc:"results of one search"`
	Effective              bool         `json:"effective" doc:"it is the one that holds: the most specific scope wins as a whole"`
	Revision               event.Offset `json:"revision" doc:"0: never set, these are the defaults"`
}

// ConfigurationChange is the body of POST and PATCH; what is absent stays as it is, or gets the default.
type ConfigurationChange struct {
	Identity               *string `json:"identity,omitempty" doc:"POST only"`
	DefaultChatHistory     *uint64 `json:"default_chat_history,omitempty" doc:"1 to 500, default 30"`
	MaxFileSizeKB          *uint64 `json:"max_file_size_kb,omitempty" doc:"0 to 4294967295, default 20000"`
	ParticipantUpdateLimit *uint64 `json:"participant_update_limit,omitempty" doc:"0 to 1000000, default 75"`
	RoomManagementURL      *string `json:"room_management_url,omitempty" doc:"http or https, default empty"`
	MessageSizeLimit       *uint64 `json:"message_size_limit,omitempty" doc:"128 to 64000, default 8000"`
	StorySizeLimit         *uint64 `json:"story_size_limit,omitempty" doc:"128 to 64000, default 64000"`
	SearchLimit            *uint64 `json:"search_limit,omitempty" doc:"1 to 10000, default 999"`
	Seen
}

func (c *ConfigurationChange) apply(i event.ConfigurationInfo) event.ConfigurationInfo {
	Set(&i.DefaultChatHistory, c.DefaultChatHistory)
	Set(&i.MaxFileSizeKB, c.MaxFileSizeKB)
	Set(&i.ParticipantUpdateLimit, c.ParticipantUpdateLimit)
	Set(&i.RoomManagementURL, c.RoomManagementURL)
	Set(&i.MessageSizeLimit, c.MessageSizeLimit)
	Set(&i.StorySizeLimit, c.StorySizeLimit)
	Set(&i.SearchLimit, c.SearchLimit)
	return i
}

// Configurations are one kind of object.
func Configurations() *Resource[policy.Configuration, Configuration, ConfigurationChange, *ConfigurationChange] {
	return &Resource[policy.Configuration, Configuration, ConfigurationChange, *ConfigurationChange]{
		Path: "/configurations", Key: "scope", Noun: "configuration", Identity: scopeIdentity,
		Read: roles.ConfigurationRead, Create: roles.ConfigurationChange, Change: roles.ConfigurationChange, Remove: roles.ConfigurationChange,
		Lists: "Configurations, by scope", Makes: "Make a configuration for a site or the pool", Alters: "Change a configuration",
		Drops: "Remove a configuration; the global one is reset", ListParams: scopeParams,
		Find: func(s *chat.State, identity string) (policy.Configuration, error) {
			return findScoped("configuration", identity, s.Policies().Configuration)
		},
		List: func(_ context.Context, s *chat.State, q url.Values) ([]policy.Configuration, error) {
			b := s.Policies()
			return listScoped(q.Get("filter"), b.Configurations(), b.Configuration, func(c policy.Configuration) event.Scope { return c.Scope }), nil
		},
		Order:    func(c Configuration) string { return string(c.Identity) },
		ID:       func(c policy.Configuration) string { return string(c.Scope) },
		Name:     func(c policy.Configuration) string { return string(c.Scope) },
		Revision: func(c policy.Configuration) event.Offset { return c.Revision },
		Show: func(v View, c policy.Configuration) Configuration {
			i := c.Info
			return Configuration{Identity: c.Scope, DefaultChatHistory: i.DefaultChatHistory, MaxFileSizeKB: i.MaxFileSizeKB,
				ParticipantUpdateLimit: i.ParticipantUpdateLimit, RoomManagementURL: i.RoomManagementURL, MessageSizeLimit: i.MessageSizeLimit,
				StorySizeLimit: i.StorySizeLimit, SearchLimit: i.SearchLimit, Revision: c.Revision,
				Effective: c.Scope == holding(v.State, v.State.Policies().Configuration)}
		},
		Make: func(_ *chat.State, c *ConfigurationChange) (chat.Command, error) {
			scope, err := newScope(c.Identity)
			return &chat.SetConfiguration{Scope: scope, Info: c.apply(policy.DefaultConfiguration()), Create: true}, err
		},
		Made: func(_ *chat.State, c *ConfigurationChange, _ chat.Result) string { return *c.Identity },
		Alter: func(_ *chat.State, o policy.Configuration, c *ConfigurationChange, revision event.Offset) (chat.Command, error) {
			return &chat.SetConfiguration{Scope: o.Scope, Info: c.apply(o.Info), Revision: revision}, notInChange(c.Identity)
		},
		Drop: func(o policy.Configuration, _ url.Values) (chat.Command, error) {
			return &chat.RemoveConfiguration{Scope: o.Scope}, nil
		},
	}
}

// holding returns the most specific scope of the pool that has something.
func holding[V any](s *chat.State, get func(event.Scope) (V, bool)) event.Scope {
	for _, scope := range []event.Scope{policy.Pool(s.Domain()), policy.Site(s.Site())} {
		if _, ok := get(scope); ok {
			return scope
		}
	}
	return policy.Global
}

// Compliance are the compliance settings of a scope.
type Compliance struct {
	Identity                      event.Scope  `json:"identity"`
	AdapterName                   string       `json:"adapter_name"`
	AdapterType                   string       `json:"adapter_type" doc:"empty: nothing is archived by this configuration"`
	AdapterOutputDirectory        string       `json:"adapter_output_directory"`
	RunInterval                   string       `json:"run_interval" doc:"between two runs, such as 15m0s"`
	OneChatRoomPerOutputFile      bool         `json:"one_chat_room_per_output_file"`
	AddChatRoomDetails            bool         `json:"add_chat_room_details"`
	AddUserDetails                bool         `json:"add_user_details"`
	CreateFileAttachmentsManifest bool         `json:"create_file_attachments_manifest"`
	CustomConfiguration           string       `json:"custom_configuration" doc:"an XSLT that reshapes the XML"`
	Effective                     bool         `json:"effective" doc:"it is the one that holds: the most specific scope wins as a whole"`
	Revision                      event.Offset `json:"revision" doc:"0: never set, these are the defaults"`
}

// ComplianceChange is the body of POST and PATCH; what is absent stays as it is, or gets the default.
type ComplianceChange struct {
	Identity                      *string `json:"identity,omitempty" doc:"POST only"`
	AdapterName                   *string `json:"adapter_name,omitempty"`
	AdapterType                   *string `json:"adapter_type,omitempty"`
	AdapterOutputDirectory        *string `json:"adapter_output_directory,omitempty"`
	RunInterval                   *string `json:"run_interval,omitempty" doc:"1 minute to 30 days, as 15m, 1h30m or [days.]hh:mm:ss; default 15 minutes"`
	OneChatRoomPerOutputFile      *bool   `json:"one_chat_room_per_output_file,omitempty"`
	AddChatRoomDetails            *bool   `json:"add_chat_room_details,omitempty"`
	AddUserDetails                *bool   `json:"add_user_details,omitempty"`
	CreateFileAttachmentsManifest *bool   `json:"create_file_attachments_manifest,omitempty"`
	CustomConfiguration           *string `json:"custom_configuration,omitempty"`
	Seen
}

func (c *ComplianceChange) apply(i event.ComplianceInfo) (event.ComplianceInfo, error) {
	Set(&i.AdapterName, c.AdapterName)
	Set(&i.AdapterType, c.AdapterType)
	Set(&i.OutputDirectory, c.AdapterOutputDirectory)
	Set(&i.OneRoomPerFile, c.OneChatRoomPerOutputFile)
	Set(&i.AddRoomDetails, c.AddChatRoomDetails)
	Set(&i.AddUserDetails, c.AddUserDetails)
	Set(&i.AttachmentsManifest, c.CreateFileAttachmentsManifest)
	Set(&i.CustomConfiguration, c.CustomConfiguration)
	if c.RunInterval == nil {
		return i, nil
	}
	d, err := ParseSpan(*c.RunInterval)
	i.RunInterval = int64(d)
	return i, err
}

// Compliances are one kind of object.
func Compliances() *Resource[policy.Compliance, Compliance, ComplianceChange, *ComplianceChange] {
	return &Resource[policy.Compliance, Compliance, ComplianceChange, *ComplianceChange]{
		Path: "/compliance", Key: "scope", Noun: "compliance configuration", Identity: scopeIdentity,
		Read: roles.ComplianceRead, Create: roles.ComplianceChange, Change: roles.ComplianceChange, Remove: roles.ComplianceChange,
		Lists: "Compliance configurations, by scope", Makes: "Make a compliance configuration for a site or the pool",
		Alters: "Change a compliance configuration", Drops: "Remove a compliance configuration; the global one is reset", ListParams: scopeParams,
		Find: func(s *chat.State, identity string) (policy.Compliance, error) {
			return findScoped("compliance configuration", identity, s.Policies().Compliance)
		},
		List: func(_ context.Context, s *chat.State, q url.Values) ([]policy.Compliance, error) {
			b := s.Policies()
			return listScoped(q.Get("filter"), b.Compliances(), b.Compliance, func(c policy.Compliance) event.Scope { return c.Scope }), nil
		},
		Order:    func(c Compliance) string { return string(c.Identity) },
		ID:       func(c policy.Compliance) string { return string(c.Scope) },
		Name:     func(c policy.Compliance) string { return string(c.Scope) },
		Revision: func(c policy.Compliance) event.Offset { return c.Revision },
		Show: func(v View, c policy.Compliance) Compliance {
			i := c.Info
			return Compliance{Identity: c.Scope, AdapterName: i.AdapterName, AdapterType: i.AdapterType, AdapterOutputDirectory: i.OutputDirectory,
				RunInterval: time.Duration(i.RunInterval).String(), OneChatRoomPerOutputFile: i.OneRoomPerFile, AddChatRoomDetails: i.AddRoomDetails,
				AddUserDetails: i.AddUserDetails, CreateFileAttachmentsManifest: i.AttachmentsManifest, CustomConfiguration: i.CustomConfiguration,
				Effective: c.Scope == holding(v.State, v.State.Policies().Compliance), Revision: c.Revision}
		},
		Make: func(_ *chat.State, c *ComplianceChange) (chat.Command, error) {
			scope, err := newScope(c.Identity)
			if err != nil {
				return nil, err
			}
			info, err := c.apply(policy.DefaultCompliance())
			return &chat.SetCompliance{Scope: scope, Info: info, Create: true}, err
		},
		Made: func(_ *chat.State, c *ComplianceChange, _ chat.Result) string { return *c.Identity },
		Alter: func(_ *chat.State, o policy.Compliance, c *ComplianceChange, revision event.Offset) (chat.Command, error) {
			if err := notInChange(c.Identity); err != nil {
				return nil, err
			}
			info, err := c.apply(o.Info)
			return &chat.SetCompliance{Scope: o.Scope, Info: info, Revision: revision}, err
		},
		Drop: func(o policy.Compliance, _ url.Values) (chat.Command, error) {
			return &chat.RemoveCompliance{Scope: o.Scope}, nil
		},
	}
}

// timeSpan is the product's form of a length of time: [days.]hours:minutes:seconds.
var timeSpan = regexp.MustCompile(`^(?:(\d{1,5})\.)?(\d{1,2}):([0-5]?\d):([0-5]?\d)$`)

// ParseSpan reads a length of time, as Go or as the product writes it.
func ParseSpan(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if m := timeSpan.FindStringSubmatch(s); m != nil {
		var n [4]int64
		for i, digits := range m[1:] {
			n[i], _ = strconv.ParseInt("0"+digits, 10, 64) // at most five digits
		}
		if n[1] < 24 || m[1] == "" {
			return time.Duration(((n[0]*24+n[1])*60+n[2])*60+n[3]) * time.Second, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, chat.Refuse(chat.CodeInvalid, "%q is no length of time; write 15m, 1h30m or [days.]hh:mm:ss", s)
	}
	return d, nil
}

// Endpoint is another SIP address of the pool.
type Endpoint struct {
	Endpoint    event.Principal `json:"endpoint" doc:"the address"`
	DisplayName string          `json:"display_name"`
}

// EndpointChange is the body of POST.
type EndpointChange struct {
	SipAddress  *string `json:"sip_address,omitempty" doc:"required"`
	DisplayName *string `json:"display_name,omitempty"`
	Seen
}

// Endpoints are one kind of object.
func Endpoints() *Resource[Endpoint, Endpoint, EndpointChange, *EndpointChange] {
	return &Resource[Endpoint, Endpoint, EndpointChange, *EndpointChange]{
		Path: "/endpoints", Key: "endpoint", Noun: "endpoint", Identity: "SIP address",
		Read: roles.EndpointRead, Create: roles.EndpointChange, Remove: roles.EndpointChange,
		Lists: "Addresses under which clients of earlier generations find the pool, by address", Makes: "Give the pool another address",
		Drops: "Take an address away from the pool", ListParams: scopeParams,
		Find: func(s *chat.State, identity string) (Endpoint, error) {
			p, err := Address(s, identity)
			if err != nil {
				return Endpoint{}, err
			}
			e, ok := s.Endpoint(p)
			if !ok {
				return Endpoint{}, chat.Refuse(chat.CodeNotFound, "no endpoint %s", p).About(p)
			}
			return Endpoint{e.Address, e.DisplayName}, nil
		},
		List: func(_ context.Context, s *chat.State, q url.Values) (out []Endpoint, _ error) {
			for e := range s.Endpoints() {
				if f := q.Get("filter"); Glob(f, e.Address.Address()) || Glob(f, string(e.Address)) || Glob(f, e.DisplayName) {
					out = append(out, Endpoint{e.Address, e.DisplayName})
				}
			}
			return out, nil
		},
		Order:    func(e Endpoint) string { return string(e.Endpoint) },
		ID:       func(e Endpoint) string { return string(e.Endpoint) },
		Name:     func(e Endpoint) string { return string(e.Endpoint) },
		Revision: func(Endpoint) event.Offset { return 0 },
		Show:     func(_ View, e Endpoint) Endpoint { return e },
		Make: func(s *chat.State, c *EndpointChange) (chat.Command, error) {
			if c.SipAddress == nil {
				return nil, chat.Refuse(chat.CodeInvalid, "a new endpoint needs a sip_address")
			}
			p, err := Address(s, *c.SipAddress)
			cmd := &chat.SetEndpoint{Address: p}
			Set(&cmd.DisplayName, c.DisplayName)
			return cmd, err
		},
		Made: func(_ *chat.State, c *EndpointChange, _ chat.Result) string { return *c.SipAddress },
		Drop: func(e Endpoint, _ url.Values) (chat.Command, error) {
			return &chat.RemoveEndpoint{Address: e.Endpoint}, nil
		},
	}
}
