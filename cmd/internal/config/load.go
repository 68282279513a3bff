package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// EnvPrefix begins the environment variables that set something: PARLEY_LISTEN_SIP is listen.sip.
const EnvPrefix = "PARLEY_"

// clientEnv are variables with the prefix that are the command line's, not a node's.
var clientEnv = []string{"PARLEY_CONFIG", "PARLEY_SERVER", "PARLEY_CREDENTIALS", "PARLEY_DIR"}

// Sources says where values come from, strongest first: flags, environment, file, defaults.
type Sources struct {
	File    string         // YAML, required
	Environ []string       // as os.Environ; nil: none
	Flags   *pflag.FlagSet // with the flags of AddFlags; nil: none
}

// Load merges the sources. An unknown key is an error, in the file and in the environment. Paths in the result are
// absolute and *_file secrets have been read. The values are not judged: see Check.
func Load(src Sources) (Config, error) {
	k := koanf.New(".")
	if err := k.Load(file.Provider(src.File), yaml.Parser()); err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			return Config{}, fmt.Errorf("read configuration: %w", err)
		}
		return Config{}, fmt.Errorf("read configuration %s: not YAML: %s", src.File, oneLine(err))
	}
	if err := loadEnv(k, src.Environ); err != nil {
		return Config{}, err
	}
	if src.Flags != nil {
		byFlag := map[string]string{}
		for _, key := range scalarKeys() {
			byFlag[flagName(key)] = key
		}
		p := posflag.ProviderWithFlag(src.Flags, ".", nil, func(f *pflag.Flag) (string, any) {
			if key, ok := byFlag[f.Name]; ok && f.Changed {
				return key, f.Value.String()
			}
			return "", nil
		})
		if err := k.Load(p, nil); err != nil {
			return Config{}, fmt.Errorf("read flags: %w", err)
		}
	}
	c := Default()
	err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{Tag: "koanf", DecoderConfig: &mapstructure.DecoderConfig{
		Result:           &c,
		ErrorUnused:      true,
		WeaklyTypedInput: true, // the environment and flags are all strings
		TagName:          "koanf",
		DecodeHook:       mapstructure.StringToTimeDurationHookFunc(),
	}})
	if err != nil {
		return Config{}, fmt.Errorf("read configuration %s: %s; `parley config reference` lists the keys", src.File, oneLine(err))
	}
	if c.PoolURI == "" {
		c.PoolURI = "sip:parley@" + c.Domain
	}
	if err := c.resolve(filepath.Dir(src.File)); err != nil {
		return Config{}, err
	}
	return c, nil
}

func loadEnv(k *koanf.Koanf, environ []string) error {
	byVar := map[string]string{}
	for _, key := range scalarKeys() {
		byVar[EnvName(key)] = key
	}
	var unknown []string
	p := env.Provider(".", env.Opt{
		Prefix:      EnvPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			key, ok := byVar[name]
			if !ok {
				if !slices.Contains(clientEnv, name) {
					unknown = append(unknown, name)
				}
				return "", nil
			}
			return key, value
		},
	})
	if err := k.Load(p, nil); err != nil {
		return fmt.Errorf("read environment: %w", err)
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("read environment: %s sets nothing; unset it, `parley config reference` lists the variables",
			strings.Join(unknown, ", "))
	}
	return nil
}

// oneLine flattens the messages of the YAML and decoding libraries, which have several lines.
func oneLine(err error) string {
	var parts []string
	for _, l := range strings.Split(err.Error(), "\n") {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "decoding failed due to") {
			continue
		}
		parts = append(parts, strings.TrimPrefix(l, "'' "))
	}
	return strings.Join(parts, "; ")
}

// resolve makes paths absolute and reads *_file secrets.
func (c *Config) resolve(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", dir, err)
	}
	paths := []*string{&c.Data, &c.TLS.CA, &c.TLS.Cert, &c.TLS.Key, &c.SigningKey}
	for i := range c.Feeds {
		paths = append(paths, &c.Feeds[i].Dir)
	}
	for i := range c.MailServers {
		paths = append(paths, &c.MailServers[i].CAFile, &c.MailServers[i].PasswordFile)
	}
	for i := range c.Admin.Credentials {
		paths = append(paths, &c.Admin.Credentials[i].SHA256File)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(abs, *p)
		}
	}
	for i := range c.Admin.Credentials {
		cr := &c.Admin.Credentials[i]
		if cr.SHA256File == "" {
			continue
		}
		if cr.SHA256 != "" {
			return fmt.Errorf("admin.credentials[%d]: both sha256 and sha256_file are set; remove one", i)
		}
		b, err := os.ReadFile(cr.SHA256File)
		if err != nil {
			return fmt.Errorf("admin.credentials[%d].sha256_file: %w", i, err)
		}
		cr.SHA256 = strings.TrimSpace(string(b))
	}
	return nil
}

// EnvName returns the environment variable of a key.
func EnvName(key string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func flagName(key string) string { return strings.NewReplacer(".", "-", "_", "-").Replace(key) }

// AddFlags defines one flag for every key that is not a list: listen.sip is --listen-sip.
func AddFlags(fs *pflag.FlagSet) {
	docs := fieldDocs()
	for _, key := range scalarKeys() {
		usage, _, _ := strings.Cut(docs[key], ". ")
		if fs.Lookup(flagName(key)) == nil {
			fs.String(flagName(key), "", strings.TrimSuffix(usage, ".")+" ("+key+")")
		}
	}
}

// scalarKeys returns the keys that a variable or a flag can set, in the order of the manual.
func scalarKeys() []string {
	var out []string
	walk(reflect.TypeFor[Config](), "", func(key string, f reflect.StructField) {
		if !strings.Contains(key, "[]") && f.Type.Kind() != reflect.Slice && f.Type.Kind() != reflect.Struct {
			out = append(out, key)
		}
	})
	return out
}

// walk visits every field in order, structs and lists before their parts. The parts of a list have "[]" in their key.
func walk(t reflect.Type, prefix string, visit func(key string, f reflect.StructField)) {
	for i := range t.NumField() {
		f := t.Field(i)
		key := prefix + f.Tag.Get("koanf")
		visit(key, f)
		switch {
		case f.Type.Kind() == reflect.Struct:
			walk(f.Type, key+".", visit)
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			walk(f.Type.Elem(), key+"[].", visit)
		}
	}
}

// Keys returns every key, for tests and completion.
func Keys() []string {
	seen := map[string]bool{}
	walk(reflect.TypeFor[Config](), "", func(key string, _ reflect.StructField) { seen[key] = true })
	return slices.Sorted(maps.Keys(seen))
}
