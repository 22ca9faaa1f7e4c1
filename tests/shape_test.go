package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// shape is what the engine says that a container is, as far as it may never be
// otherwise. What differs between packs is replaced by a word: the golden files
// in testdata/shapes are the shapes of all containers of all tests.
type shape struct {
	Config struct {
		User                           string
		Entrypoint, Env, Labels        []string `json:",omitempty"`
		Tty, OpenStdin                 bool
		Cmd, Volumes, ExposedPorts     any
		WorkingDir, Image, Healthcheck string
	}
	HostConfig struct {
		NetworkMode, IpcMode, PidMode, UTSMode, UsernsMode, CgroupnsMode, Cgroup        string
		LogConfig, RestartPolicy                                                        string
		ReadonlyRootfs, Privileged, AutoRemove, PublishAllPorts, Init                   bool
		OomScoreAdj                                                                     int
		CapAdd, CapDrop, SecurityOpt                                                    []string
		Limits, Ulimits                                                                 []string
		Tmpfs                                                                           map[string]string
		Masked, Readonly                                                                string
		Binds, VolumesFrom, GroupAdd, Links, Devices, DeviceRequests, DeviceCgroupRules any
		PortBindings, ExtraHosts, Dns, Sysctls, StorageOpt, OomKillDisable              any
	}
	Mounts []string
}

// engineView is the engine's own form of the parts that a shape has in another.
type engineView struct {
	ID     string
	Config struct {
		User, WorkingDir, Image string
		Entrypoint, Env         []string
		Labels                  map[string]string
		Tty, OpenStdin          bool
		Cmd                     []string
		Volumes, ExposedPorts   map[string]any
		Healthcheck             struct{ Test []string }
	}
	HostConfig struct {
		NetworkMode, IpcMode, PidMode, UTSMode, UsernsMode, CgroupnsMode, Cgroup string
		LogConfig                                                                struct{ Type string }
		RestartPolicy                                                            struct{ Name string }
		ReadonlyRootfs, Privileged, AutoRemove, PublishAllPorts, Init            bool
		OomScoreAdj                                                              int
		CapAdd, CapDrop, SecurityOpt                                             []string
		Memory, MemorySwap, PidsLimit, NanoCpus                                  int64
		Ulimits                                                                  []struct {
			Name       string
			Soft, Hard int64
		}
		Tmpfs                                                                           map[string]string
		MaskedPaths, ReadonlyPaths                                                      []string
		Binds, VolumesFrom, GroupAdd, Links, Devices, DeviceRequests, DeviceCgroupRules []any
		ExtraHosts, Dns                                                                 []any
		PortBindings, Sysctls, StorageOpt                                               map[string]any
		OomKillDisable                                                                  *bool
	}
	Mounts []struct {
		Type, Source, Destination string
		RW                        bool
	}
}

var updateShapes = flag.Bool("update.shapes", false, "write what the containers of this run are into testdata/shapes")

// checkShapes compares every container that a gateway has now with the shape that
// its role must have. It is the end of every suite, and costs two commands.
func (g *gateway) checkShapes() error {
	if g.unisolated {
		return nil
	}
	ids, err := exec.Command("docker", "ps", "-aq", "--no-trunc", "--filter", "label=attune.gateway="+g.id).Output()
	if err != nil {
		return fmt.Errorf("docker ps: %w", err)
	}
	if len(ids) == 0 {
		return nil
	}
	// One that ends in between is missing in the output, and an error.
	out, _ := exec.Command("docker", append([]string{"inspect"}, strings.Fields(string(ids))...)...).Output()
	var all []engineView
	if err := json.Unmarshal(out, &all); err != nil {
		return fmt.Errorf("docker inspect: %w", err)
	}
	var faults []error
	for _, c := range all {
		faults = append(faults, g.check(c))
	}
	return errors.Join(faults...)
}

func (g *gateway) check(c engineView) error {
	role := c.Config.Labels["attune.role"]
	if role == "probe" {
		return nil // of the start's own self-test: no code of anybody is in it
	}
	if strings.Contains(strings.Join(c.Config.Env, " "), canary) {
		return fmt.Errorf("the gateway's environment shows in docker inspect: %v", c.Config.Env)
	}
	var got bytes.Buffer
	encoder := json.NewEncoder(&got)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(g.shape(c, role)); err != nil {
		return err
	}
	golden := filepath.Join("testdata", "shapes", role+".json")
	if *updateShapes {
		return os.WriteFile(golden, got.Bytes(), 0o644)
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		return fmt.Errorf("a container of role %q: %w", role, err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		return fmt.Errorf("container of %s/%s is not as %s says (-want +got):\n%s", c.Config.Labels["attune.pack"], c.Config.Labels["attune.runtime"], golden, diff)
	}
	return nil
}

var (
	imageID   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	tmpfsSize = regexp.MustCompile(`(size|nr_inodes|uid|gid)=[1-9][0-9]*`)
)

// shape puts a word in the place of all that may differ.
func (g *gateway) shape(c engineView, role string) (l shape) {
	pack, runtime := c.Config.Labels["attune.pack"], c.Config.Labels["attune.runtime"]
	word := func(text string) string {
		text = strings.ReplaceAll(text, "/opt/attune/packs/"+pack, "/opt/attune/packs/<pack>")
		return strings.ReplaceAll(text, "/opt/attune/runtime_envs/"+pack+"/"+runtime, "/opt/attune/runtime_envs/<pack>/<runtime>")
	}
	l.Config.User = c.Config.User
	if want := fmt.Sprintf("0:%d", g.gid()); role == "instance" && c.Config.User == want {
		l.Config.User = "0:<gateway's group>"
	}
	l.Config.WorkingDir = word(c.Config.WorkingDir)
	l.Config.Image = imageID.ReplaceAllString(c.Config.Image, "<ID>")
	l.Config.Healthcheck = strings.Join(c.Config.Healthcheck.Test, " ")
	l.Config.Tty, l.Config.OpenStdin = c.Config.Tty, c.Config.OpenStdin
	l.Config.Cmd, l.Config.Volumes, l.Config.ExposedPorts = some(c.Config.Cmd), someOf(c.Config.Volumes), someOf(c.Config.ExposedPorts)
	if role == "instance" {
		l.Config.Entrypoint = c.Config.Entrypoint
		// A bare name says that there is no such variable.
		l.Config.Env = slices.DeleteFunc(c.Config.Env, func(v string) bool { return !strings.Contains(v, "=") })
		for label := range c.Config.Labels {
			if label != "attune.inputs" { // of our own images, which not every pack runs in
				l.Config.Labels = append(l.Config.Labels, label)
			}
		}
		slices.Sort(l.Config.Labels)
	}

	from, to := c.HostConfig, &l.HostConfig
	to.NetworkMode = from.NetworkMode
	if from.NetworkMode == "none" || from.NetworkMode == "bridge" && (role != "instance" || g.granted(pack)) {
		to.NetworkMode = "<none, or granted>"
	}
	to.IpcMode, to.PidMode, to.UTSMode, to.UsernsMode, to.CgroupnsMode, to.Cgroup = from.IpcMode, from.PidMode, from.UTSMode, from.UsernsMode, from.CgroupnsMode, from.Cgroup
	to.LogConfig, to.RestartPolicy = from.LogConfig.Type, from.RestartPolicy.Name
	to.ReadonlyRootfs, to.Privileged, to.AutoRemove, to.PublishAllPorts, to.Init = from.ReadonlyRootfs, from.Privileged, from.AutoRemove, from.PublishAllPorts, from.Init
	to.OomScoreAdj, to.CapDrop, to.SecurityOpt = from.OomScoreAdj, from.CapDrop, from.SecurityOpt
	for _, capability := range from.CapAdd { // newer engines add the prefix
		to.CapAdd = append(to.CapAdd, strings.TrimPrefix(capability, "CAP_"))
	}
	slices.Sort(to.CapAdd)
	for name, limited := range map[string]bool{
		"memory": from.Memory > 0, "no swap": from.MemorySwap == from.Memory, "pids": from.PidsLimit > 0, "cpu": from.NanoCpus > 0,
	} {
		if limited {
			to.Limits = append(to.Limits, name)
		}
	}
	slices.Sort(to.Limits)
	for _, limit := range from.Ulimits {
		text := fmt.Sprintf("%s %d %d", limit.Name, limit.Soft, limit.Hard)
		if limit.Soft == limit.Hard && limit.Soft > 0 {
			text = limit.Name + " <some>"
		}
		to.Ulimits = append(to.Ulimits, text)
	}
	slices.Sort(to.Ulimits)
	to.Tmpfs = map[string]string{}
	for path, options := range from.Tmpfs {
		options = tmpfsSize.ReplaceAllString(options, "$1=<some>")
		if path == "/tmp" || !strings.HasPrefix(options, "rw,nosuid,nodev,exec,size=<some>,mode=700") {
			to.Tmpfs[word(path)] = options // others are copies of a pack's sources, the builder's own
		}
	}
	to.Masked, to.Readonly = paths(from.MaskedPaths), paths(from.ReadonlyPaths)
	to.Binds, to.VolumesFrom, to.GroupAdd, to.Links = some(from.Binds), some(from.VolumesFrom), some(from.GroupAdd), some(from.Links)
	to.Devices, to.DeviceRequests, to.DeviceCgroupRules = some(from.Devices), some(from.DeviceRequests), some(from.DeviceCgroupRules)
	to.PortBindings, to.ExtraHosts, to.Dns, to.Sysctls, to.StorageOpt = someOf(from.PortBindings), some(from.ExtraHosts), some(from.Dns), someOf(from.Sysctls), someOf(from.StorageOpt)
	to.OomKillDisable = from.OomKillDisable != nil && *from.OomKillDisable
	l.Mounts = g.mounts(c, role, word)
	return l
}

// mounts says what is mounted from where. What an instance may have and need
// not, an environment or authorities, is named by its source alone.
func (g *gateway) mounts(c engineView, role string, word func(string) string) []string {
	store := map[string]string{
		g.envs + "/.store/": "environment", g.envs + "/.bin/": "agent", g.envs + "/.run/" + g.id + "/": "run",
		g.envs + "/.tmp/": "attempt", g.envs + "/.cache/": "downloads", g.envs + "/.ca/": "authorities",
	}
	if role == "builder" {
		store[g.envs+"/.views/"] = "pack" // of one without code of its own: a copy of what is in its digest
	}
	optional := map[string]bool{"environment": true, "authorities": true, "downloads": true, "attempt": true}
	var all []string
	for _, m := range c.Mounts {
		source := m.Source
		if m.Source == filepath.Join(g.packs, c.Config.Labels["attune.pack"]) {
			source = "pack"
		}
		for dir, name := range store {
			if rest, below := strings.CutPrefix(m.Source, dir); below && rest != "" && !strings.Contains(rest, "..") {
				source = name
			}
		}
		if m.Type != "bind" {
			source = m.Type + " " + source
		}
		if m.RW {
			source = "writable " + source
		}
		if optional[source] || role == "builder" && optional[strings.TrimPrefix(source, "writable ")] {
			continue
		}
		all = append(all, word(m.Destination)+" is "+source)
	}
	slices.Sort(all)
	return all
}

// granted tells whether a pack, or an action of it, asks for the network.
func (g *gateway) granted(pack string) bool {
	files, _ := filepath.Glob(filepath.Join(g.packs, pack, "actions", "*.yaml"))
	for _, file := range append(files, filepath.Join(g.packs, pack, "pack.yaml")) {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "network: outbound") {
			return true
		}
	}
	return false
}

// gid is the group that a gateway's instances run in: its own.
func (g *gateway) gid() int {
	if g.user == nil {
		return os.Getegid()
	}
	return int(g.user.Gid)
}

// some tells whether there is any, whether the engine calls nothing null or [].
func some[T any](list []T) any { return len(list) > 0 }

func someOf(m map[string]any) any { return len(m) > 0 }

func paths(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return "<the engine's>"
}
