package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
)

// ConfigCmd looks at the configuration.
type ConfigCmd struct {
	Check ConfigCheckCmd `cmd:"" help:"Report every fault of the configuration at once."`
	Show  ConfigShowCmd  `cmd:"" help:"Print all settings, each with where it came from; secrets are masked."`
}

// ConfigCheckCmd reports faults.
type ConfigCheckCmd struct{ configFlag }

// ConfigShowCmd prints the effective configuration.
type ConfigShowCmd struct{ configFlag }

// Run prints "ok" and what the configuration amounts to.
func (c *ConfigCheckCmd) Run(p *program) error {
	config, err := c.load(p)
	if err != nil {
		return err
	}
	fmt.Fprintln(p.Stdout, "ok")
	for _, line := range config.summary() {
		fmt.Fprintf(p.Stdout, "%-13s %s\n", line[0], line[1])
	}
	return nil
}

// Run prints the settings as a configuration file.
func (c *ConfigShowCmd) Run(p *program) error {
	config, err := c.load(p)
	if err != nil {
		return err
	}
	return writeConfig(p.Stdout, config)
}

// summary says in a few lines what the gateway would do.
func (c Config) summary() [][2]string {
	envs := "directory " + c.RuntimeEnvsDir
	if c.EnvsInVolume() {
		envs = "volume " + c.RuntimeEnvsDir
	}
	state := "embedded database in " + c.StateDir
	if c.Redis.URL != "" {
		state = "Redis at " + maskURL(c.Redis.URL)
	}
	outbound := "no pack"
	if len(c.Network.Outbound) > 0 {
		outbound = strings.ReplaceAll(strings.Join(c.Network.Outbound, ", "), "*", "every pack")
	}
	return [][2]string{
		{"listens on", c.URL()}, {"engine", c.Engine}, {"packs", c.PacksBaseDir},
		{"environments", envs}, {"state", state}, {"network for", outbound},
		{"changed", strconv.Itoa(c.changed()) + " of " + plural(len(settingsOf(&c)), "setting")},
	}
}

// changed counts the settings that differ from their defaults.
func (c Config) changed() int {
	defaults := DefaultConfig()
	count, mine := 0, settingsOf(&c)
	for i, s := range settingsOf(&defaults) {
		if s.yaml() != mine[i].yaml() || (s.Secret != "" && s.Value.String() != mine[i].Value.String()) {
			count++
		}
	}
	return count
}

// writeConfig prints the settings as YAML that LoadConfig reads back, masked
// secrets apart.
func writeConfig(w io.Writer, config Config) error {
	var b strings.Builder
	section := ""
	for _, s := range settingsOf(&config) {
		indent, name := "", s.Key
		if first, rest, nested := strings.Cut(s.Key, "."); nested {
			if first != section {
				b.WriteString(first + ":\n")
			}
			section, indent, name = first, "  ", rest
		}
		fmt.Fprintf(&b, "%s%s: %s  # %s\n", indent, name, s.yaml(), config.Origin(s.Key))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// yaml writes the value on one line.
func (s setting) yaml() string {
	switch value := s.Value.Interface().(type) {
	case string:
		switch {
		case s.Secret == "url":
			value = maskURL(value)
		case s.Secret != "" && value != "":
			value = "***"
		}
		return scalarYAML(value)
	case []string:
		items := make([]string, len(value))
		for i, item := range value {
			items[i] = strconv.Quote(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]string:
		var items []string
		for _, key := range sortedKeys(value) {
			items = append(items, key+": "+strconv.Quote(value[key]))
		}
		return "{" + strings.Join(items, ", ") + "}"
	default:
		return fmt.Sprint(value)
	}
}

// scalarYAML quotes a text unless it is made of what YAML takes as it is.
func scalarYAML(text string) string {
	simple := text != ""
	for _, r := range text {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		simple = simple && (letter || strings.ContainsRune("/._0123456789", r))
	}
	if simple {
		return text
	}
	return strconv.Quote(text)
}

// maskURL hides the password of a URL, and all of what can't be parsed.
func maskURL(text string) string {
	if text == "" {
		return ""
	}
	parsed, err := url.Parse(text)
	if err != nil {
		return "***"
	}
	if parsed.RawQuery != "" {
		parsed.RawQuery = "***" // it may hold a password, too
	}
	return strings.ReplaceAll(parsed.Redacted(), "xxxxx", "***")
}
