package sipfront

import "crypto/tls"

// tlsFloor returns a configuration that speaks TLS 1.2 at the least, whatever was asked for.
func tlsFloor(conf *tls.Config) *tls.Config {
	if conf == nil || conf.MinVersion >= tls.VersionTLS12 {
		return conf
	}
	c := conf.Clone()
	c.MinVersion = tls.VersionTLS12
	return c
}
