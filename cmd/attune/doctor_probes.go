package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"attune/gateway/pack"
)

func oneCheck(name string, status CheckStatus, detail, cure string) []Check {
	return []Check{{Name: name, Status: status, Detail: detail, Cure: cure}}
}

// packs loads the runtimes and every pack, as the gateway would.
func (d *diagnosis) packs(context.Context) []Check {
	dir := d.config.PacksBaseDir
	if stat, err := os.Stat(dir); err != nil || !stat.IsDir() {
		return oneCheck("packs", CheckFail, dir+" is no directory that can be read", "create it, or set packs_base_dir")
	}
	registry, err := d.config.registry()
	if err != nil {
		return oneCheck("runtimes", CheckFail, err.Error(), "correct the runtime.yaml files in runtimes_dir")
	}
	catalog, err := pack.LoadCatalog(dir, registry, pack.LoadOptions{})
	if err != nil {
		return oneCheck("packs", CheckFail, err.Error(), "make "+dir+" readable, or set packs_base_dir")
	}
	checks := oneCheck("packs", CheckOK, fmt.Sprintf("%s with %s in %s",
		plural(len(catalog.Packs()), "pack"), plural(len(catalog.Actions()), "action"), dir), "")
	if len(catalog.Packs())+len(catalog.Broken()) == 0 {
		checks = oneCheck("packs", CheckWarn, "no pack in "+dir, "put one there, or set packs_base_dir")
	}
	for _, broken := range catalog.Broken() {
		checks = append(checks, Check{
			Name: "pack " + broken.Name, Status: CheckWarn,
			Detail: plural(len(faultsOf(broken.Err)), "fault") + ": it is not served",
			Cure:   "attune pack check " + filepath.Join(dir, broken.Name) + " lists them",
		})
	}
	return checks
}

// secretKeys reads the keys of stored secrets, without which they can be neither
// stored nor read.
func (d *diagnosis) secretKeys(context.Context) []Check {
	const name, cure = "secrets", "set secrets.key_file to a file that attune secret keygen has made, readable by the gateway alone"
	keys, err := d.config.secretKeys()
	switch {
	case err != nil:
		return oneCheck(name, CheckFail, err.Error(), cure)
	case keys == nil:
		return oneCheck(name, CheckOK, "no key is set: packs can have no stored secrets", "")
	}
	return oneCheck(name, CheckOK, "the key can be read", "")
}

// certificates looks at the bundle that builders get.
func (d *diagnosis) certificates(context.Context) []Check {
	const name = "certificates"
	setting := d.config.Build.CABundle
	path := d.config.Build.FindCABundle(d.environ)
	switch {
	case setting == CABundleNone:
		return oneCheck(name, CheckOK, "build.ca_bundle is none: builders trust what their image brings", "")
	case path == "":
		return oneCheck(name, CheckWarn, "no bundle found on this machine: builders trust what their image brings",
			"install the package ca-certificates, or set build.ca_bundle to a PEM file or none")
	}
	count, err := countCertificates(path)
	if err != nil {
		return oneCheck(name, CheckFail, path+": "+bare(err).Error(), "set build.ca_bundle to a PEM file of certificates, auto or none")
	}
	return oneCheck(name, CheckOK, fmt.Sprintf("%s in %s", plural(count, "certificate"), path), "")
}

// freeSpace compares what is free with what a build asks for.
func (d *diagnosis) freeSpace(context.Context) []Check {
	const name = "free space"
	if d.config.EnvsInVolume() {
		return nil // the engine alone sees it
	}
	dir := existingParent(d.config.RuntimeEnvsDir)
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return oneCheck(name, CheckFail, dir+": "+err.Error(), "make runtime_envs_dir a directory that can be read")
	}
	free := Bytes(stat.Bavail * uint64(stat.Bsize))
	detail := fmt.Sprintf("%s at %s", readableSize(int64(free)), dir)
	switch least := d.config.Build.FreeSpace; {
	case free < least:
		return oneCheck(name, CheckFail, detail, fmt.Sprintf("builds need %s: make space there, or lower build.free_space", least))
	case stat.Files > 0 && stat.Ffree < uint64(d.config.Build.MaxFiles):
		return oneCheck(name, CheckWarn, fmt.Sprintf("%s, but only %d more files", detail, stat.Ffree),
			"a large environment may not fit: remove files from that file system")
	}
	return oneCheck(name, CheckOK, detail, "")
}

// existingParent climbs to a directory that is there.
func existingParent(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// state tries to write where the embedded database lives. The directory isn't
// made: the gateway does that.
func (d *diagnosis) state(context.Context) []Check {
	const name = "state"
	if d.config.Redis.URL != "" {
		return nil
	}
	dir := existingParent(d.config.StateDir)
	probe, err := os.CreateTemp(dir, ".attune-doctor-*")
	if err != nil {
		return oneCheck(name, CheckFail, dir+" can't be written: "+bare(err).Error(), "make it writable for this user, or set state_dir")
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return oneCheck(name, CheckFail, err.Error(), "look at the file system of state_dir")
	}
	if dir != d.config.StateDir {
		return oneCheck(name, CheckOK, fmt.Sprintf("%s will be made in %s", d.config.StateDir, dir), "")
	}
	return oneCheck(name, CheckOK, dir+" is writable", "")
}

// listener tells whether the gateway could listen, or does so already.
func (d *diagnosis) listener(ctx context.Context) []Check {
	const name = "address"
	address := net.JoinHostPort(d.config.Server.Host, strconv.Itoa(d.config.Server.Port))
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err == nil {
		if err := listener.Close(); err != nil {
			return oneCheck(name, CheckWarn, err.Error(), "try again")
		}
		return oneCheck(name, CheckOK, address+" is free", "")
	}
	switch {
	case !errors.Is(err, syscall.EADDRINUSE):
		return oneCheck(name, CheckFail, listenFault(err), "set server.host to an address of this machine and server.port to one that this user may use")
	case d.answers(ctx):
		return oneCheck(name, CheckOK, "a gateway answers at "+d.config.URL(), "")
	}
	return oneCheck(name, CheckFail, address+" is taken by another program", "stop that program, or set server.port")
}

// listenFault takes the operation and address off a network error.
func listenFault(err error) string {
	var opErr *net.OpError
	if errors.As(err, &opErr) {
		return fmt.Sprintf("listening on %s: %v", opErr.Addr, opErr.Err)
	}
	return err.Error()
}

// answers tells whether a gateway is behind the configured address.
func (d *diagnosis) answers(ctx context.Context) bool {
	gateway := &client{base: d.config.URL(), http: &http.Client{}}
	answer, err := gateway.do(ctx, http.MethodGet, "/healthz", nil)
	return err == nil && answer.Header.Get("Attune-Request-Id") != ""
}

// exposure warns of what is meant for development only.
func (d *diagnosis) exposure(context.Context) []Check {
	var checks []Check
	if d.config.Engine == EngineProcess {
		checks = append(checks, Check{
			Name: "isolation", Status: CheckWarn, Detail: "the engine process isolates nothing: actions run as this user",
			Cure: "set engine to docker wherever packs are not your own",
		})
	}
	if !isLoopback(d.config.Server.Host) {
		checks = append(checks, Check{
			Name: "exposure", Status: CheckWarn, Detail: d.config.Server.Host + " can be reached from other machines, where serve asks for an API key",
			Cure: "make a key (attune key create --local --scope admin NAME), and put a proxy that speaks TLS in front; or listen on 127.0.0.1",
		})
	}
	return checks
}
