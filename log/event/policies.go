package event

import "parley/log/wire"

// AddInID is the GUID of an add-in, same form as RoomID.
type AddInID string

// AddInInfo are the settable fields of an add-in: a page that clients show beside a room.
type AddInInfo struct {
	Name string // unique in the pool, compared without case
	URL  string // http or https
}

// Code visits the fields.
func (i *AddInInfo) Code(c *wire.Coder) {
	wire.Str(c, 1, &i.Name)
	wire.Str(c, 2, &i.URL)
}

// AddInCreated registers an add-in.
type AddInCreated struct {
	AddIn AddInID
	Info  AddInInfo
}

// AddInChanged replaces the fields of an add-in.
type AddInChanged struct {
	AddIn AddInID
	Info  AddInInfo
}

// AddInRemoved removes an add-in that no room uses.
type AddInRemoved struct {
	AddIn AddInID
	Name  string
}

// Scope says for whom a policy or a configuration holds: "global", "site:NAME", "pool:DOMAIN", and for a policy also
// "user:TAG", which is granted to users by its name. Package projections/chat/policy has the rules.
type Scope string

// PolicyInfo are the settable fields of a policy.
type PolicyInfo struct {
	Enabled     bool // EnablePersistentChat
	Description string
}

// Code visits the fields.
func (i *PolicyInfo) Code(c *wire.Coder) {
	c.Bool(1, &i.Enabled)
	wire.Str(c, 2, &i.Description)
}

// PolicySet makes or replaces the policy of a scope.
type PolicySet struct {
	Scope Scope
	Info  PolicyInfo
}

// PolicyRemoved removes the policy of a scope, and every grant of it.
type PolicyRemoved struct{ Scope Scope }

// PolicyGranted gives users a policy of their own; an empty scope takes it away.
type PolicyGranted struct {
	Users []Principal
	Scope Scope
}

// ConfigurationInfo are the settings of a pool. It is always complete: no field is inherited from another scope.
type ConfigurationInfo struct {
	DefaultChatHistory     uint64 // messages that a client gets when it does not say how many
	MaxFileSizeKB          uint64
	ParticipantUpdateLimit uint64 // users; a room with more is quiet
	RoomManagementURL      string // empty: the pool's own pages
	MessageSizeLimit       uint64 // bytes of UTF-8 text
	StorySizeLimit         uint64 // bytes of UTF-8 text
	SearchLimit            uint64 // results of one search
}

// Code visits the fields.
func (i *ConfigurationInfo) Code(c *wire.Coder) {
	wire.Uint(c, 1, &i.DefaultChatHistory)
	wire.Uint(c, 2, &i.MaxFileSizeKB)
	wire.Uint(c, 3, &i.ParticipantUpdateLimit)
	wire.Str(c, 4, &i.RoomManagementURL)
	wire.Uint(c, 5, &i.MessageSizeLimit)
	wire.Uint(c, 6, &i.StorySizeLimit)
	wire.Uint(c, 7, &i.SearchLimit)
}

// ConfigurationSet makes or replaces the configuration of a scope.
type ConfigurationSet struct {
	Scope Scope
	Info  ConfigurationInfo
}

// ConfigurationRemoved removes the configuration of a scope; the global one is then the product's.
type ConfigurationRemoved struct{ Scope Scope }

// ComplianceInfo are the settings of compliance.
type ComplianceInfo struct {
	AdapterName         string
	AdapterType         string // empty: nothing is archived
	OutputDirectory     string
	RunInterval         int64 // nanoseconds between two runs
	OneRoomPerFile      bool
	AddRoomDetails      bool
	AddUserDetails      bool
	AttachmentsManifest bool
	CustomConfiguration string
}

// Code visits the fields.
func (i *ComplianceInfo) Code(c *wire.Coder) {
	wire.Str(c, 1, &i.AdapterName)
	wire.Str(c, 2, &i.AdapterType)
	wire.Str(c, 3, &i.OutputDirectory)
	wire.Int(c, 4, &i.RunInterval)
	c.Bool(5, &i.OneRoomPerFile)
	c.Bool(6, &i.AddRoomDetails)
	c.Bool(7, &i.AddUserDetails)
	c.Bool(8, &i.AttachmentsManifest)
	wire.Str(c, 9, &i.CustomConfiguration)
}

// ComplianceSet makes or replaces the compliance configuration of a scope.
type ComplianceSet struct {
	Scope Scope
	Info  ComplianceInfo
}

// ComplianceRemoved removes the compliance configuration of a scope.
type ComplianceRemoved struct{ Scope Scope }

// AdminChanged gives an administrator exactly these roles; none takes them all away.
type AdminChanged struct {
	Admin Principal // "admin:NAME", or the account of a user
	Roles []string  // names of package projections/chat/roles
}

// EndpointSet gives the pool another SIP address, under which clients of earlier generations look for it.
type EndpointSet struct {
	Address     Principal // "sip:name@domain"
	DisplayName string
}

// EndpointRemoved takes such an address away.
type EndpointRemoved struct{ Address Principal }

// ActiveServersSet names the nodes that take new connections; none means all. The others go on serving those they have.
type ActiveServersSet struct{ Nodes []NodeID }

// PoolPlaced names the site that the pool belongs to.
type PoolPlaced struct{ Site string }

func (*AddInCreated) Kind() Kind         { return KindAddInCreated }
func (*AddInChanged) Kind() Kind         { return KindAddInChanged }
func (*AddInRemoved) Kind() Kind         { return KindAddInRemoved }
func (*PolicySet) Kind() Kind            { return KindPolicySet }
func (*PolicyRemoved) Kind() Kind        { return KindPolicyRemoved }
func (*PolicyGranted) Kind() Kind        { return KindPolicyGranted }
func (*ConfigurationSet) Kind() Kind     { return KindConfigurationSet }
func (*ConfigurationRemoved) Kind() Kind { return KindConfigurationRemoved }
func (*ComplianceSet) Kind() Kind        { return KindComplianceSet }
func (*ComplianceRemoved) Kind() Kind    { return KindComplianceRemoved }
func (*AdminChanged) Kind() Kind         { return KindAdminChanged }
func (*EndpointSet) Kind() Kind          { return KindEndpointSet }
func (*EndpointRemoved) Kind() Kind      { return KindEndpointRemoved }
func (*ActiveServersSet) Kind() Kind     { return KindActiveServersSet }
func (*PoolPlaced) Kind() Kind           { return KindPoolPlaced }

func (e *AddInCreated) code(c *wire.Coder)         { wire.Str(c, 1, &e.AddIn); c.Sub(2, e.Info.Code) }
func (e *AddInChanged) code(c *wire.Coder)         { wire.Str(c, 1, &e.AddIn); c.Sub(2, e.Info.Code) }
func (e *AddInRemoved) code(c *wire.Coder)         { wire.Str(c, 1, &e.AddIn); wire.Str(c, 2, &e.Name) }
func (e *PolicySet) code(c *wire.Coder)            { wire.Str(c, 1, &e.Scope); c.Sub(2, e.Info.Code) }
func (e *PolicyRemoved) code(c *wire.Coder)        { wire.Str(c, 1, &e.Scope) }
func (e *PolicyGranted) code(c *wire.Coder)        { wire.Strs(c, 1, &e.Users); wire.Str(c, 2, &e.Scope) }
func (e *ConfigurationSet) code(c *wire.Coder)     { wire.Str(c, 1, &e.Scope); c.Sub(2, e.Info.Code) }
func (e *ConfigurationRemoved) code(c *wire.Coder) { wire.Str(c, 1, &e.Scope) }
func (e *ComplianceSet) code(c *wire.Coder)        { wire.Str(c, 1, &e.Scope); c.Sub(2, e.Info.Code) }
func (e *ComplianceRemoved) code(c *wire.Coder)    { wire.Str(c, 1, &e.Scope) }
func (e *AdminChanged) code(c *wire.Coder)         { wire.Str(c, 1, &e.Admin); wire.Strs(c, 2, &e.Roles) }
func (e *EndpointSet) code(c *wire.Coder)          { wire.Str(c, 1, &e.Address); wire.Str(c, 2, &e.DisplayName) }
func (e *EndpointRemoved) code(c *wire.Coder)      { wire.Str(c, 1, &e.Address) }
func (e *ActiveServersSet) code(c *wire.Coder)     { wire.Strs(c, 1, &e.Nodes) }
func (e *PoolPlaced) code(c *wire.Coder)           { wire.Str(c, 1, &e.Site) }
