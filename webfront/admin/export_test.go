package admin

// Routes returns the route table as "METHOD PATH".
func Routes(a *API) []string {
	var out []string
	for _, r := range a.routes() {
		out = append(out, r.method+" "+Prefix+r.path)
	}
	return out
}
