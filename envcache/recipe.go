package envcache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"attune/runtimes"
	"attune/runtimes/container"
)

// schemaVersion is part of every digest: raise it when the meaning of an
// environment's content changes, and every environment is built anew.
const schemaVersion = 1

// maxManifest bounds a manifest or lock file, in bytes.
const maxManifest = 8 << 20

// Recipe is all an environment is made from.
type Recipe struct {
	Pack     string // ref
	PackDir  string // as the gateway sees it
	Revision string // of the pack's files: when it changes, the manifests are read again
	Runtime  *runtimes.Runtime
	Image    container.Image // environments are built in the image that runs them
	Index    string          // that the pack asks for; empty = the installer's usual one
	Scripts  bool            // packages' install scripts may run
}

// key names a recipe in memory: equal keys have equal digests, as long as
// nobody edits the pack without a new revision.
type key struct{ pack, runtime, revision, image string }

func (r *Recipe) key() key {
	return key{r.Pack, r.Runtime.Name, r.Revision, r.Image.ID}
}

// inputs is what a digest is made over, and is kept in the marker. Its JSON is
// canonical: fields in this order, map keys sorted.
type inputs struct {
	Schema    int               `json:"schema"`
	Identity  string            `json:"identity"` // of the pack on this volume
	Pack      string            `json:"pack"`
	Runtime   string            `json:"runtime"`
	Image     string            `json:"image"`
	OS        string            `json:"os"`
	Arch      string            `json:"arch"`
	Create    []string          `json:"create"`
	Install   []string          `json:"install"`
	Variants  []variantInput    `json:"variants"`
	Binary    string            `json:"binary"`      // interpreter of the create command
	Own       string            `json:"interpreter"` // the environment's, of the install command
	Copy      bool              `json:"copy"`        // manifests are copied into the environment
	Manifests map[string]string `json:"manifests"`   // file → SHA-256
	// build.vars: an index decides what is installed. Name → SHA-256 of the
	// value, for every pack's code can read a marker.
	Vars   map[string]string `json:"vars"`
	Epoch  int64             `json:"epoch"`
	Finish []string          `json:"finish,omitempty"`
	Index  *indexInput       `json:"index,omitempty"`

	// Follow from the manifests, and are no part of a digest or marker.
	code  string   // hash of what the pack brings that its build may run
	trees []string // directories of the pack that are built where they lie
}

type variantInput struct {
	Needs   string   `json:"needs"`
	Create  []string `json:"create"`
	Install []string `json:"install"`
}

// digest is the name of the generation that inputs make: 128 bits of a
// SHA-256, in hexadecimal.
func (in inputs) digest() string {
	canonical, err := json.Marshal(in)
	if err != nil {
		panic(fmt.Sprintf("inputs hold strings only, yet: %v", err))
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])[:32]
}

// inputs reads the manifests. identity is the pack's on the volume.
func (r *Recipe) inputs(identity string, vars map[string]string) (inputs, error) {
	included, err := r.read()
	if err != nil {
		return inputs{}, err
	}
	in := inputs{
		Schema:    schemaVersion,
		Identity:  identity,
		Pack:      r.Pack,
		Runtime:   r.Runtime.Name,
		Image:     r.Image.ID,
		OS:        r.Image.OS,
		Arch:      r.Image.Arch,
		Create:    r.Runtime.Environment.CreateCommand,
		Binary:    r.Runtime.Interpreter.Binary,
		Own:       r.Runtime.Environment.InterpreterPath,
		Copy:      r.Runtime.Dependencies.CopyManifests,
		Manifests: included.hashes,
		code:      included.codeHash(),
		trees:     outermost(included.trees),
		Vars:      make(map[string]string, len(vars)),
	}
	r.chooseInstall(&in)
	for name, value := range vars {
		sum := sha256.Sum256([]byte(value))
		in.Vars[name] = hex.EncodeToString(sum[:])
	}
	return in, nil
}

// chooseInstall picks the commands for what is there: none without a manifest,
// the locked ones beside a lock file. A variant without a locked command keeps
// the manifest's, and must not install past the lock file with its plain one.
func (r *Recipe) chooseInstall(in *inputs) {
	manifest, has := r.manifest(in.Manifests)
	var lock, locked bool
	own := map[string]runtimes.ManifestVariant{}
	if manifest != nil {
		in.Finish = r.Runtime.Environment.FinishCommand
		lock = manifest.LockFile(has) != ""
		locked = lock && len(manifest.LockedInstallCommand) > 0
		in.Install = r.scripted(manifest, manifest.InstallCommand)
		if locked {
			in.Install = r.scripted(manifest, manifest.LockedInstallCommand)
		}
		for _, v := range manifest.Variants {
			v.InstallCommand = r.scripted(manifest, v.InstallCommand)
			v.LockedInstallCommand = r.scripted(manifest, v.LockedInstallCommand)
			own[v.Needs] = v
		}
	}
	for _, v := range r.Runtime.Variants {
		variant := variantInput{Needs: v.Needs, Create: v.CreateCommand}
		variant.Install = own[v.Needs].InstallCommand
		if locked || lock && len(own[v.Needs].LockedInstallCommand) > 0 {
			variant.Install = own[v.Needs].LockedInstallCommand
		}
		in.Variants = append(in.Variants, variant)
		delete(own, v.Needs)
	}
	if manifest == nil {
		return
	}
	for _, v := range manifest.Variants { // those that replace nothing but the install command
		if v, more := own[v.Needs]; more {
			variant := variantInput{Needs: v.Needs, Install: v.InstallCommand}
			if locked || lock && len(v.LockedInstallCommand) > 0 {
				variant.Install = v.LockedInstallCommand
			}
			in.Variants = append(in.Variants, variant)
		}
	}
}

// scripted is an install command with or without install scripts, as the pack
// wants it.
func (r *Recipe) scripted(m *runtimes.Manifest, command []string) []string {
	if r.Scripts || len(command) == 0 || len(m.NoScripts) == 0 {
		return command
	}
	return slices.Concat(command, m.NoScripts)
}

// manifest is the one that is used of the files that are there, nil if none.
func (r *Recipe) manifest(there map[string]string) (*runtimes.Manifest, func(string) bool) {
	has := func(name string) bool {
		_, ok := there[name]
		return ok
	}
	return r.Runtime.ChooseManifest(has), has
}

// packChanged is a failure of its own each time: what becomes of it is noted in it.
func packChanged() error {
	return refuse("the pack's manifest was changed during the build; reload the packs")
}

// unchanged tells whether the pack still asks for what was built: the builder
// read its files after the digest was made.
func (r *Recipe) unchanged(in inputs) error {
	manifests, err := r.manifests()
	if err == nil && !maps.Equal(manifests, in.Manifests) {
		return packChanged()
	}
	return err
}

// manifests are the hashes of all files that decide what is installed.
func (r *Recipe) manifests() (map[string]string, error) {
	included, err := r.read()
	if err != nil {
		return nil, err
	}
	return included.hashes, nil
}

// read hashes the manifest that is used, the files beside it, and what it
// includes. A manifest is never followed out of the pack.
func (r *Recipe) read() (*includes, error) {
	root, err := os.OpenRoot(r.PackDir)
	if err != nil {
		return nil, fmt.Errorf("open pack %s: %w", r.Pack, err)
	}
	defer root.Close()
	has := func(name string) bool {
		_, err := root.Lstat(name)
		return err == nil
	}
	hashes := map[string]string{}
	manifest := r.Runtime.ChooseManifest(has)
	if manifest == nil {
		return &includes{hashes: hashes}, nil
	}
	if why := manifest.Refusal(has); why != "" {
		return nil, refuse("%s", why)
	}
	for _, name := range slices.Concat([]string{manifest.File}, manifest.LockFiles, manifest.Settings) {
		hash, err := hashFile(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s of pack %s: %w", name, r.Pack, err)
		}
		hashes[name] = hash
	}
	included, err := newIncludes(root, manifest, hashes)
	if err == nil {
		err = included.follow(manifest.File)
	}
	if err != nil {
		return nil, fmt.Errorf("read what %s of pack %s includes: %w", manifest.File, r.Pack, err)
	}
	for name := range hashes {
		if name == manifest.File || slices.Contains(manifest.LockFiles, name) || slices.Contains(manifest.Settings, name) {
			delete(included.code, name)
		}
	}
	return included, nil
}

func hashFile(root *os.Root, name string) (string, error) {
	status, err := root.Lstat(name)
	if err != nil {
		return "", err
	}
	if !status.Mode().IsRegular() {
		return "", refuse("%s is not a regular file", name)
	}
	file, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, io.LimitReader(file, maxManifest+1))
	if err != nil {
		return "", err
	}
	if n > maxManifest {
		return "", refuse("%s is larger than %d bytes", name, maxManifest)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
