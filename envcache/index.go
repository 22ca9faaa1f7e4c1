package envcache

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"attune/runtimes"
	"attune/runtimes/container"
)

// Index is a package index that packs may choose by its name.
type Index struct {
	URL            string // without credentials
	User, Password string // empty = everybody may read it
}

// indexInput is the choice of an index in a digest. The URL is hashed, for
// every pack's code can read a marker; credentials are no part of it: a new
// password installs nothing else.
type indexInput struct {
	Name string `json:"name"`
	URL  string `json:"url"` // SHA-256
}

// inputs are what a recipe's digest is made over in this cache.
func (c *Cache) inputs(r *Recipe, identity string) (inputs, error) {
	in, err := r.inputs(identity, c.Vars)
	if err != nil {
		return in, err
	}
	index, name, err := c.index(r)
	if index != nil {
		sum := sha256.Sum256([]byte(index.URL))
		in.Index = &indexInput{Name: name, URL: hex.EncodeToString(sum[:])}
	}
	return in, err
}

// index finds the index that a pack asks for: NAME.RUNTIME before NAME. nil is
// the installer's usual one.
func (c *Cache) index(r *Recipe) (*Index, string, error) {
	if r.Index == "" {
		return nil, "", nil
	}
	for _, name := range []string{r.Index + "." + r.Runtime.Name, r.Index} {
		index, known := c.Indexes[name]
		switch {
		case !known:
			continue
		case len(r.Runtime.Dependencies.Index.Vars) == 0:
			return nil, "", refuse("pack.yaml: runtime %s can't be told which index to use: leave build.index out", r.Runtime.Name)
		case index.User != "" && r.Runtime.Dependencies.Index.CredentialsVar == "":
			return nil, "", refuse("index %s takes credentials, which runtime %s can't be given", name, r.Runtime.Name)
		}
		return &index, name, nil
	}
	return nil, "", refuse("pack.yaml asks for the index %s, which the operator does not offer: build.indexes has %s",
		r.Index, strings.Join(slices.Sorted(maps.Keys(c.Indexes)), ", "))
}

// values are the template variables of a runtime's index settings.
func (x *Index) values() map[string]string {
	values := map[string]string{
		"index_url": x.URL, "index_user": x.User, "index_password": x.Password, "index_basic": x.basic(),
	}
	if parsed, err := url.Parse(x.URL); err == nil { // checked with the configuration
		values["index_host"] = parsed.Hostname()
		values["index_address"] = "//" + parsed.Host + strings.TrimSuffix(parsed.EscapedPath(), "/") + "/"
	}
	return values
}

func (x *Index) basic() string {
	return base64.StdEncoding.EncodeToString([]byte(x.User + ":" + x.Password))
}

// secrets are what must not stand in a build log, in each spelling that an
// installer may print.
func (x *Index) secrets() []string {
	if x == nil || x.Password == "" {
		return nil
	}
	return []string{x.Password, url.QueryEscape(x.Password), url.PathEscape(x.Password), x.basic()}
}

// indexSecrets are the secrets of a recipe's index.
func (c *Cache) indexSecrets(r *Recipe) []string {
	index, _, err := c.index(r)
	if err != nil {
		return nil // then there is no build
	}
	return index.secrets()
}

// credentialsFile is the name of the installer's file in its directory.
const credentialsFile = "credentials"

// secret is where the file of a running builder is, in memory. Nobody but the
// gateway passes the directory above; a builder is shown its own by a mount.
func (v volume) secret(attempt string) string { return filepath.Join(v.memory, attempt) }

// useIndex shows the index of a recipe to its builder: the address by process
// variables, which whoever may inspect containers can read, and credentials by
// a file.
func (c *Cache) useIndex(spec *container.Spec, r *Recipe, attempt string) error {
	index, _, err := c.index(r)
	if index == nil {
		return err
	}
	use, values := r.Runtime.Dependencies.Index, index.values()
	for name, template := range use.Vars {
		value, err := runtimes.ExpandString(template, map[string]string{"index_url": index.URL})
		if err != nil {
			return fmt.Errorf("runtime %s: %w", r.Runtime.Name, err)
		}
		setVars(spec, name+"="+value)
	}
	if index.User == "" {
		return nil
	}
	content, err := runtimes.ExpandString(use.Credentials, values)
	if err != nil {
		return fmt.Errorf("runtime %s: %w", r.Runtime.Name, err)
	}
	dir, err := c.volume.writeSecret(attempt, content)
	if err != nil {
		return fmt.Errorf("give the builder its index credentials: %w", err)
	}
	mount := c.mount(dir, runtimes.SecretDir)
	spec.Mounts = append(spec.Mounts, mount)
	setVars(spec, use.CredentialsVar+"="+mount.Target+"/"+credentialsFile)
	return nil
}

// writeSecret makes the file that one builder may read.
func (v volume) writeSecret(attempt, content string) (dir string, err error) {
	if v.memory == "" {
		return "", errors.New("there is no memory for them, and a disk is no place")
	}
	dir = v.secret(attempt)
	if err := os.MkdirAll(v.memory, 0o700); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	file := filepath.Join(dir, credentialsFile)
	if err := os.WriteFile(file, []byte(content), 0o400); err != nil {
		return "", err
	}
	return dir, errors.Join(give(file), give(dir))
}

// give makes a path the builder's, where that isn't the gateway's own user.
func give(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(path, builderUID, builderUID)
}

// dropSecret removes what a builder that is gone could read.
func (v volume) dropSecret(attempt string) error {
	if v.memory == "" || attempt == "" || !filepath.IsLocal(attempt) {
		return nil
	}
	return os.RemoveAll(v.secret(attempt))
}
