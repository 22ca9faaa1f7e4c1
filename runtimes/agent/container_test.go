package agent_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"attune/runtimes/agent"
	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
)

// bench starts hardened containers with the real agent as PID 1.
type bench struct {
	engine  container.Engine
	image   container.Image
	program string // the agent, static
	gateway string // label of this test's containers
}

func newBench(t testing.TB) *bench {
	t.Helper()
	engine := containertest.RequireDocker(t)
	b := &bench{engine: engine, image: containertest.RequireImage(t, engine), program: filepath.Join(t.TempDir(), "attune-agent")}
	b.gateway = containertest.Gateway(t, engine)
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.program, "attune/cmd/attune-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, output)
	}
	return b
}

func (b *bench) spec(socketDir string) container.Spec {
	return container.Spec{
		Image:      b.image.ID,
		Entrypoint: []string{"/run/attune-agent", "supervise", "--socket", "/run/attune/" + agent.SocketName},
		User:       "0:0", Dir: "/", Network: container.NetworkNone, CapAdd: []string{"KILL", "SETGID", "SETUID"}, KeepLogs: true,
		Labels: map[string]string{container.LabelRole: container.RoleInstance, container.LabelGateway: b.gateway},
		Mounts: []container.Mount{
			{Source: b.program, Target: "/run/attune-agent", ReadOnly: true},
			{Source: socketDir, Target: "/run/attune", ReadOnly: true},
		},
		Tmpfs:  []container.Tmpfs{{Path: "/tmp", Size: 64 << 20, Inodes: 20000, Exec: true, Mode: 0o1777}},
		Limits: container.Limits{Memory: 96 << 20, CPU: 1, Pids: 64, NoFile: 256, FileSize: 64 << 20},
	}
}

// contained is an agent in a container.
type contained struct {
	*agent.Conn
	container container.Container
	arch      string
}

// setting is what an instance is to be; the zero value has one slot and nothing
// warm.
type setting struct {
	image  string // empty = the bench's
	setup  agent.Setup
	memory int64 // 0 = the bench's
}

func (b *bench) start(t testing.TB) *contained {
	t.Helper()
	return b.startWith(t, setting{})
}

func (b *bench) startWith(t testing.TB, s setting) *contained {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := agent.Listen(dir)
	if err != nil {
		t.Fatalf("Listen() = %v", err)
	}
	spec := b.spec(dir)
	spec.Mounts = append(spec.Mounts, container.Mount{Source: warmPrograms(t), Target: warmDir, ReadOnly: true})
	if s.image != "" {
		image, err := b.engine.Image(t.Context(), s.image)
		if err != nil {
			t.Fatalf("Image(%s) = %v", s.image, err)
		}
		spec.Image = image.ID
	}
	spec.Limits.Memory = cmp.Or(s.memory, spec.Limits.Memory)
	c, err := b.engine.Create(t.Context(), spec)
	if err != nil {
		t.Fatalf("Create() = %v", err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatalf("Start() = %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := listener.Accept(ctx, s.setup)
	if err != nil {
		var log strings.Builder
		c.Logs(t.Context(), &log)
		t.Fatalf("Accept() = %v; agent says %s", err, log.String())
	}
	t.Cleanup(func() { conn.Close() }) // Gateway removes the container
	if !conn.Isolated() {
		t.Error("Isolated() = false in a container")
	}
	return &contained{conn, c, b.image.Arch}
}

// inside is a script for a container, where HOME and TMPDIR are /tmp.
func inside(script string) agent.Request {
	r := request(script)
	r.Patience = 0
	return r
}

// checkEmpty checks that the next execution finds nothing of the last.
func (c *contained) checkEmpty(t *testing.T) {
	t.Helper()
	got := run(t, c, inside(`for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || echo $p; done; ls -A /tmp; tail -qn +2 /proc/sysvipc/*`))
	if want := "/proc/1\n"; got.stdout != want {
		t.Errorf("the next execution sees %.200q, %.200q, want %q", got.stdout, got.stderr, want)
	}
	if !got.Reusable {
		t.Errorf("the next execution = %+v", got.Exit)
	}
}

func TestContainer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	t.Run("one after the other", func(t *testing.T) {
		c := b.start(t)
		t.Run("small at first", c.small)
		t.Run("privileges", c.privileges)
		t.Run("attacks", c.attacks)
		t.Run("leftovers", c.leftovers)
		t.Run("input and output", c.inputAndOutput)
		t.Run("timeout", c.timeout)
		t.Run("fork bomb", c.forkBomb)
		t.Run("small at last", c.small)
	})
	t.Run("full tmp", b.fullTmp)
	t.Run("out of memory", func(t *testing.T) { b.start(t).outOfMemory(t) })
	t.Run("System V IPC", func(t *testing.T) { b.start(t).systemV(t) })
	t.Run("connection lost", func(t *testing.T) { b.start(t).connectionLost(t) })
	t.Run("stop", func(t *testing.T) { b.start(t).lostContainer(t) })
	t.Run("listener inside", b.listenerInside)
	t.Run("builder", b.builder)
}

func (c *contained) privileges(t *testing.T) {
	got := run(t, c, inside(`id -u; id -g; id -G; grep -E '^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs|Groups)' /proc/self/status; umask; ls /proc/self/fd | grep -v 3; ps -o pid= -p $$ >/dev/null 2>&1; cut -d' ' -f6 /proc/$$/stat | grep -cx $$; cat /proc/self/oom_score_adj; env`))
	want := strings.ReplaceAll(`65533
65533
65533
Groups:| 
CapInh:|0000000000000000
CapPrm:|0000000000000000
CapEff:|0000000000000000
CapAmb:|0000000000000000
NoNewPrivs:|1
0022
0
1
2
1
1000
`, "|", "\t")
	if !strings.HasPrefix(got.stdout, want) {
		t.Errorf("script printed\n%s\nwant\n%s", got.stdout, want)
	}
	environment := strings.Fields(strings.TrimPrefix(got.stdout, want))
	for _, e := range environment {
		switch key, _, _ := strings.Cut(e, "="); key {
		case "PATH", "HOME", "TMPDIR", "PWD", "_", "SHLVL", "OLDPWD": // some are the shell's own
		default:
			t.Errorf("environment holds %s", e)
		}
	}
}

// What user code must not be able to do to the agent.
func (c *contained) attacks(t *testing.T) {
	ptrace := map[string]int{"amd64": 101, "arm64": 117}[c.arch]
	for name, script := range map[string]string{
		"kill PID 1":         `kill -9 1`,
		"stop PID 1":         `kill -STOP 1`,
		"crash PID 1":        `kill -SEGV 1`,
		"kill threads":       `for t in /proc/1/task/*; do kill -9 ${t##*/} && exit 0; done; false`,
		"read memory":        `cat /proc/1/mem || cat /proc/1/environ || cat /proc/1/maps`,
		"list descriptors":   `ls /proc/1/fd`,
		"use a descriptor":   `: > /proc/1/fd/2`,
		"find a socket":      `test -e /run/attune/agent.sock || grep -q . /run/attune/*`,
		"make a socket":      `: > /run/attune/agent.sock`,
		"write the root":     `: > /x || : > /dev/x || : > /etc/x || : > /run/x`,
		"write the agent":    `: > /run/attune-agent`,
		"become root":        `chroot / true`,
		"trace":              fmt.Sprintf(`perl -e 'exit(syscall(%d, 16, 1, 0, 0) == 0 ? 0 : 1)'`, ptrace),
		"a set-uid program":  `cp /bin/sh /tmp/sh && chmod 4755 /tmp/sh && /tmp/sh -c 'test "$(id -u)" != 65533'`,
		"a listening socket": `grep " 00010000 " /proc/net/unix`,
		"change its score":   `echo 0 > /proc/1/oom_score_adj`,
	} {
		got := run(t, c, inside(script))
		if got.Code == 0 || !got.Reusable {
			t.Errorf("%s: %q = %+v; want it to fail", name, script, got)
		}
	}
	got := run(t, c, inside(`cat /proc/1/status | grep -E '^(Uid|State)'`))
	if want := "Uid:\t0\t0\t0\t0\n"; !strings.HasSuffix(got.stdout, want) {
		t.Errorf("PID 1 = %q, want uid 0 in all", got.stdout)
	}
}

func (c *contained) leftovers(t *testing.T) {
	for name, script := range map[string]string{
		"files":                `cd /tmp; mkdir -p a/b/c; echo secret > a/b/c/f; ln -s /etc e; mkfifo p; chmod 000 a/b/c a/b; chmod 000 a; touch .h`,
		"processes":            `setsid sh -c 'trap "" TERM HUP; while :; do sleep 1; done' & (setsid sleep 1000 &) ; sleep 1000 &`,
		"both, and they go on": `for i in 1 2 3 4 5; do setsid sh -c 'while :; do mkdir -p /tmp/$$/x; echo > /tmp/$$/x/$RANDOM; done' & done`,
		"holds stdout":         `setsid sleep 1000 & echo $!`,
	} {
		begin := time.Now()
		got := run(t, c, inside(script))
		if got.Code != 0 || !got.Reusable || time.Since(begin) > 5*time.Second {
			t.Errorf("%s: Execute() = %+v after %v; want success and reusable", name, got, time.Since(begin))
		}
		c.checkEmpty(t)
	}
	r := inside(`stat -c '%u %a %s' /tmp/parameters; cat /tmp/parameters`)
	r.Files = []agent.File{{Name: "parameters", Data: []byte("secret")}}
	if got := run(t, c, r); got.stdout != "65533 400 6\nsecret" {
		t.Errorf("file = %+v", got)
	}
	c.checkEmpty(t)
}

func (c *contained) inputAndOutput(t *testing.T) {
	r := inside("cat")
	r.Stdin = []byte(strings.Repeat("0123456789abcdef", 6<<20/16))
	if got := run(t, c, r); got.stdout != string(r.Stdin) {
		t.Errorf("cat gave %d bytes, want %d; %+v", len(got.stdout), len(r.Stdin), got.Exit)
	}
	r = inside("head -c 104857600 /dev/zero")
	r.StdoutLimit = 1 << 20
	if got := run(t, c, r); len(got.stdout) != 1<<20 || got.StdoutDropped != 99<<20 {
		t.Errorf("%d bytes, %d dropped", len(got.stdout), got.StdoutDropped)
	}
}

func (c *contained) timeout(t *testing.T) {
	r := inside(`trap "" TERM; setsid sh -c 'trap "" TERM; while :; do sleep 1; done' & while :; do sleep 1; done`)
	r.Timeout, r.Grace = 200*time.Millisecond, 100*time.Millisecond
	if got := run(t, c, r); !got.TimedOut || got.Signal != 9 || !got.Reusable {
		t.Errorf("Execute() = %+v, want timed out, killed, reusable", got.Exit)
	}
	c.checkEmpty(t)
}

func (c *contained) forkBomb(t *testing.T) {
	for name, script := range map[string]string{
		"goes on":  `bomb() { bomb & bomb; }; bomb`,
		"detaches": `bomb() { setsid sh -c 'while :; do sleep 1000 & done' & }; for i in 1 2 3; do bomb; done; sleep 1`,
	} {
		r := inside(script + " 2>/dev/null")
		r.Timeout, r.Grace = time.Second, 100*time.Millisecond
		begin := time.Now()
		got := run(t, c, r)
		if took := time.Since(begin); took > 5*time.Second || !got.Reusable {
			t.Errorf("%s: Execute() = %+v after %v; want reusable", name, got.Exit, took)
		}
		c.checkEmpty(t)
	}
}

// Either all is wiped in time, or the instance says that it is not.
func (b *bench) fullTmp(t *testing.T) {
	c := b.start(t)
	got := run(t, c, inside(`head -c 70000000 /dev/zero > /tmp/big; cd /tmp; mkdir -p $(seq 25000); touch $(seq -f f%.0f 25000); ls | wc -l`))
	if n, err := strconv.Atoi(strings.TrimSpace(got.stdout)); err != nil || n < 19000 {
		t.Errorf("%d entries, %v; %.200q", n, err, got.stderr)
	}
	if got.Reusable {
		c.checkEmpty(t)
		return
	}
	if got.Reason != "wipe /tmp: too much is left to be removed in time" {
		t.Errorf("Execute() = %+v, want reusable or too much left", got.Exit)
	}
	c.checkSpent(t)
}

// checkSpent checks that an instance that is not reusable runs nothing more.
func (c *contained) checkSpent(t *testing.T) {
	t.Helper()
	_, err := c.Execute(t.Context(), inside("true"), agent.Output{})
	wantErr(t, err, agent.ErrNotStarted)
}

// The agent's share of a container's memory.
func (c *contained) small(t *testing.T) {
	t.Helper()
	got := run(t, c, inside(`awk '/^(VmRSS|RssAnon|Threads)/ { print $1, $2 }' /proc/1/status`))
	t.Logf("agent: %s", strings.ReplaceAll(got.stdout, "\n", " "))
	var rss, anon, threads int
	for line := range strings.Lines(got.stdout) {
		for name, v := range map[string]*int{"VmRSS: ": &rss, "RssAnon: ": &anon, "Threads: ": &threads} {
			if value, ok := strings.CutPrefix(line, name); ok {
				for _, d := range strings.TrimSpace(value) {
					*v = *v*10 + int(d-'0')
				}
			}
		}
	}
	if rss == 0 || rss > 24<<10 || threads > 24 {
		t.Errorf("agent has %d KiB resident and %d threads, want at most 24 MiB and 24", rss, threads)
	}
}

func (c *contained) outOfMemory(t *testing.T) {
	r := inside(`x=$(head -c 400000000 /dev/zero | tr '\0' x); echo survived`)
	got := run(t, c, r)
	if !got.OutOfMemory || got.Reusable || got.Reason == "" {
		t.Errorf("Execute() = %+v %q, want out of memory and not reusable", got.Exit, got.stdout)
	}
	c.checkSpent(t) // by an agent that is alive: it is the program that was killed
}

func (c *contained) systemV(t *testing.T) {
	got := run(t, c, inside(`ipcmk -M 4096`))
	if got.Code != 0 {
		t.Skipf("the image can't make shared memory: %+v", got)
	}
	if got.Reusable || !strings.Contains(got.Reason, "System V") {
		t.Errorf("Execute() = %+v, want not reusable", got.Exit)
	}
}

func (c *contained) connectionLost(t *testing.T) {
	out, ended := newStarted(), make(chan error, 1)
	go func() {
		_, err := c.Execute(t.Context(), inside("echo x; trap '' TERM; sleep 1000"), agent.Output{Stdout: out})
		ended <- err
	}()
	<-out.seen
	c.Close()
	wantErr(t, <-ended, agent.ErrLost)
	exit, err := c.container.Wait(t.Context())
	if err != nil || exit.Code != 0 {
		t.Errorf("Wait() = %+v, %v; want exit 0", exit, err)
	}
}

func (c *contained) lostContainer(t *testing.T) {
	out, ended := newStarted(), make(chan error, 1)
	go func() {
		_, err := c.Execute(t.Context(), inside("echo x; sleep 1000"), agent.Output{Stdout: out})
		ended <- err
	}()
	<-out.seen
	if err := c.container.Remove(t.Context()); err != nil {
		t.Errorf("Remove() = %v", err)
	}
	wantErr(t, <-ended, agent.ErrLost)
	<-c.Done()
}

// A socket that somebody in the container listens on is not the gateway's.
func (b *bench) listenerInside(t *testing.T) {
	spec := b.spec(t.TempDir())
	spec.Entrypoint = []string{"/usr/bin/perl", "-MSocket", "-e", `
		socket(S, AF_UNIX, SOCK_STREAM, 0) && bind(S, pack_sockaddr_un("/tmp/agent.sock")) && listen(S, 1) or die $!;
		fork or exit !sleep 5;
		exec "/run/attune-agent", "supervise", "--socket", "/tmp/agent.sock";`}
	exit, output := containertest.Run(t, b.engine, spec)
	if exit.Code != 1 || !strings.Contains(output, "of this container listens on the gateway's socket") {
		t.Errorf("agent with a listener in its container: %+v, %q", exit, output)
	}
}
