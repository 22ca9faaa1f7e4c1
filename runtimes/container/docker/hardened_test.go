package docker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
	"attune/tests/kit"
)

// pinned are the settings that a container's isolation rests on.
var pinned = []string{
	"AutoRemove", "Binds", "CapAdd", "CapDrop", "Cgroup", "CgroupnsMode", "DeviceCgroupRules", "DeviceRequests", "Devices",
	"ExtraHosts", "GroupAdd", "Init", "IpcMode", "Links", "LogConfig", "Memory", "MemorySwap", "Mounts", "NanoCpus", "NetworkMode",
	"OomScoreAdj", "PidMode", "PidsLimit", "PortBindings", "Privileged", "PublishAllPorts", "ReadonlyRootfs",
	"RestartPolicy", "SecurityOpt", "Sysctls", "Tmpfs", "UTSMode", "Ulimits", "UsernsMode", "VolumesFrom",
}

// TestHardened shows what the engine itself says about the containers it made.
func TestHardened(t *testing.T) {
	t.Parallel()
	engine, spec := rig(t)
	for name, change := range map[string]func(*container.Spec){
		"hardened-default.json": func(s *container.Spec) { s.KeepLogs = false },
		"hardened-most.json": func(s *container.Spec) {
			s.Network, s.CapAdd, s.User = container.NetworkOutbound, []string{"KILL", "SETGID", "SETUID"}, "0:0"
			s.Tmpfs = []container.Tmpfs{{Path: "/tmp", Size: 1 << 20, Inodes: 32, Mode: 0o1777}}
			s.Mounts = []container.Mount{{Source: "/etc", Target: "/opt/attune/packs/p", ReadOnly: true}}
		},
	} {
		s := spec("true")
		change(&s)
		config, host, mounted := inspect(t.Context(), t, engine, containertest.Create(t, engine, s))
		got := make(map[string]any)
		for _, key := range pinned {
			got[key] = unlessEmpty(host[key])
		}
		got["Healthcheck"] = config["Healthcheck"]
		for _, m := range mounted {
			if m.Propagation != "rprivate" {
				t.Errorf("mount at %s has propagation %s", m.Destination, m.Propagation)
			}
		}
		kit.Golden(t, name, append(indented(t, got), '\n'))
		for _, masked := range []string{"/proc/kcore", "/proc/keys", "/sys/firmware"} {
			if !strings.Contains(fmt.Sprint(host["MaskedPaths"]), masked) {
				t.Errorf("%s is not masked: %v", masked, host["MaskedPaths"])
			}
		}
	}
}

// unlessEmpty makes one of the many ways in which engines say "none".
func unlessEmpty(v any) any {
	switch v := v.(type) {
	case []any:
		if len(v) == 0 {
			return nil
		}
	case map[string]any:
		if len(v) == 0 {
			return nil
		}
	}
	return v
}

// TestInside asks from the inside. Each script prints only what is wrong.
func TestInside(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"the root file system is read-only": `for d in / /etc /usr/bin /var/tmp /run /dev/shm /sys; do touch $d/x 2>/dev/null && echo $d; done`,
		"there are no capabilities":         `grep -E '^Cap(Prm|Eff|Bnd|Amb|Inh)' /proc/self/status | grep -v 0000000000000000`,
		"no new privileges":                 `grep NoNewPrivs /proc/self/status | grep -v 1; grep Seccomp: /proc/self/status | grep -v 2`,
		"only the loopback interface":       `ls /sys/class/net | grep -vx lo; tail -n +2 /proc/net/route`,
		"no shared memory":                  `ls -d /dev/shm 2>/dev/null`,
		"limits":                            `[ $(ulimit -n) = 256 ] && [ $(ulimit -c) = 0 ] && [ $(ulimit -f) = 32768 ] || ulimit -a; grep 'msgqueue' /proc/self/limits | grep -v ' 0 *0 '`,
		"no processes of others":            `[ $$ = 1 ] || echo pid $$`,
		"kernel settings are read-only":     `(echo 1 >/proc/sys/kernel/panic) 2>/dev/null && echo written; cat /proc/kcore 2>/dev/null | head -c 1`,
		"mounts are impossible":             `mount -t tmpfs none /mnt 2>/dev/null && echo mounted`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine, spec := rig(t)
			for _, user := range []string{"65533:65533", "0:0"} {
				s := spec(script)
				s.User = user
				if _, output := containertest.Run(t, engine, s); output != "" {
					t.Errorf("as %s: %s", user, output)
				}
			}
		})
	}
}

func TestCapabilitiesAreOnlyThoseAdded(t *testing.T) {
	t.Parallel()
	engine, spec := rig(t)
	s := spec("grep CapEff /proc/self/status")
	s.User, s.CapAdd = "0:0", []string{"KILL", "SETGID", "SETUID"}
	if _, output := containertest.Run(t, engine, s); output != "CapEff:\t00000000000000e0\n" {
		t.Errorf("capabilities = %q", output)
	}
}

// A message queue is a way out of a read-only root that even IpcMode none leaves.
func TestNoMessageQueue(t *testing.T) {
	t.Parallel()
	engine, spec := rig(t)
	if info, err := engine.Info(t.Context()); err != nil || info.Architecture != "amd64" {
		t.Skipf("mq_open has another number on %s (%v)", info.Architecture, err)
	}
	s := spec("")
	s.Entrypoint = []string{"/usr/bin/perl", "-e", `my $n = "q"; my $fd = syscall(240, $n, 0102, 0600, 0); print $fd < 0 ? "refused: $!" : "created";`}
	if exit, output := containertest.Run(t, engine, s); exit.Code != 0 || !strings.HasPrefix(output, "refused: Too many open files") {
		t.Errorf("exit %+v, %s", exit, output)
	}
}

func TestMountsAreReadOnlyUnlessAsked(t *testing.T) {
	t.Parallel()
	engine, spec := rig(t)
	dir := t.TempDir()
	for _, name := range []string{"ro", "rw"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := spec("touch /rw/x && ! touch /ro/x 2>/dev/null && [ ! -e /rw/../ro/x ]")
	s.User = fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	s.Mounts = []container.Mount{
		{Source: filepath.Join(dir, "ro"), Target: "/ro", ReadOnly: true},
		{Source: filepath.Join(dir, "rw"), Target: "/rw"},
	}
	if exit, output := containertest.Run(t, engine, s); exit.Code != 0 {
		t.Errorf("exit %+v: %s", exit, output)
	}
}

func TestTmpfsLimits(t *testing.T) {
	t.Parallel()
	engine, spec := rig(t)
	s := spec(`cp /bin/true /exec/t && /exec/t || echo exec; cp /bin/true /tmp/t && /tmp/t 2>/dev/null && echo noexec
		head -c 3000000 /dev/zero >/tmp/big 2>/dev/null && echo size; rm /tmp/big
		for n in $(seq 40); do touch /tmp/$n 2>/dev/null; done; [ $(ls /tmp | wc -l) -lt 32 ] || echo inodes
		touch /own/file; stat -c %a /tmp /exec; stat -c '%u %U' /own | grep -v "^$(id -u) "; grep -E ' /(tmp|exec) ' /proc/mounts | grep -v nosuid,nodev`)
	s.Tmpfs = []container.Tmpfs{
		{Path: "/tmp", Size: 2 << 20, Inodes: 32, Mode: 0o1777},
		{Path: "/exec", Size: 1 << 20, Exec: true, Mode: 0o777},
		{Path: "/own", Size: 1 << 20},
	}
	if _, output := containertest.Run(t, engine, s); output != "1777\n777\n" {
		t.Errorf("output = %q", output)
	}
}

func TestMemoryLimitKillsAndIsReported(t *testing.T) {
	t.Parallel()
	engine, spec := rig(t)
	exit, output := containertest.Run(t, engine, spec("exec perl -e '$x = \"a\" x 200_000_000; print length $x'"))
	if exit != (container.Exit{Code: 137, OutOfMemory: true}) {
		t.Errorf("exit = %+v, output %q; want out of memory", exit, output)
	}
}
