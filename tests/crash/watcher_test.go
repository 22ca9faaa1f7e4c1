package crash

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watcher sees every change of the store and of the pointer, in their order, by
// the kernel's word. It fails the test at once where a generation becomes
// visible that isn't whole: I1.
type watcher struct {
	t      *testing.T
	root   string
	file   *os.File
	done   chan struct{} // closed when all that happened before end was seen
	places map[int32]string
	ending string // a directory in which a new file says that it is the end

	mu       sync.Mutex
	inodes   map[string]uint64 // of generations, when they appeared
	pointers map[string][]string
}

func newWatcher(t *testing.T, root string) *watcher {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{
		t: t, root: root, file: os.NewFile(uintptr(fd), "inotify"), done: make(chan struct{}), ending: t.TempDir(),
		places: make(map[int32]string), inodes: make(map[string]uint64), pointers: make(map[string][]string),
	}
	w.see(filepath.Join(root, ".store"), 0o755)
	w.see(w.ending, 0o755)
	w.see(filepath.Join(root, "demo"), 0o755) // where the pointer will be
	var watching sync.WaitGroup
	watching.Go(w.run)
	t.Cleanup(func() {
		w.file.Close()
		watching.Wait()
	})
	return w
}

func (w *watcher) see(dir string, mode os.FileMode) {
	w.t.Helper()
	if err := os.MkdirAll(dir, mode); err != nil {
		w.t.Fatal(err)
	}
	const changes = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_MOVED_FROM
	n, err := unix.InotifyAddWatch(int(w.file.Fd()), dir, changes)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := unix.SetNonblock(int(w.file.Fd()), true); err != nil { // Fd has made it blocking
		w.t.Fatal(err)
	}
	w.places[int32(n)] = dir
}

func (w *watcher) run() {
	buffer := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buffer)
		if err != nil {
			return
		}
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			event := (*unix.InotifyEvent)(unsafe.Pointer(&buffer[at]))
			name := string(bytes.TrimRight(buffer[at+unix.SizeofInotifyEvent:at+unix.SizeofInotifyEvent+int(event.Len)], "\x00"))
			if event.Mask&unix.IN_Q_OVERFLOW != 0 {
				w.t.Error("changes of the volume were lost")
			}
			w.seen(w.places[event.Wd], name, event.Mask)
			at += unix.SizeofInotifyEvent + int(event.Len)
		}
	}
}

func (w *watcher) seen(dir, name string, mask uint32) {
	appears := mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0
	switch {
	case dir == w.ending:
		close(w.done)
	case dir != filepath.Join(w.root, ".store"):
		w.pointed(filepath.Join(dir, name), appears)
	case !appears:
		w.t.Errorf("I3: generation %s has vanished", name)
	default:
		w.published(name)
	}
}

func (w *watcher) published(digest string) {
	w.whole(digest)
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, before := w.inodes[digest]; before {
		w.t.Errorf("I3: generation %s was published twice", digest)
	}
	w.inodes[digest] = w.inode(digest)
}

func (w *watcher) pointed(link string, appears bool) {
	if !appears {
		w.t.Errorf("I6: pointer %s has vanished", link)
		return
	}
	target, err := os.Readlink(link)
	if err != nil {
		w.t.Errorf("I6: pointer: %v", err)
		return
	}
	w.whole(filepath.Base(target))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pointers[link] = append(w.pointers[link], filepath.Base(target))
}

func (w *watcher) inode(digest string) uint64 {
	var stat unix.Stat_t
	if err := unix.Stat(filepath.Join(w.root, ".store", digest), &stat); err != nil {
		w.t.Errorf("generation %s: %v", digest, err)
	}
	return stat.Ino
}

// whole is I1: a generation that can be seen has its marker and all its parts.
func (w *watcher) whole(digest string) {
	w.t.Helper()
	if err := whole(filepath.Join(w.root, ".store", digest), digest); err != nil {
		w.t.Errorf("I1: generation %s is visible: %v", digest, err)
	}
}

func whole(dir, digest string) error {
	content, err := os.ReadFile(filepath.Join(dir, ".attune-env.json"))
	if err != nil {
		return err
	}
	var marker struct{ Digest string }
	if err := json.Unmarshal(content, &marker); err != nil || marker.Digest != digest {
		return fmt.Errorf("its marker is %q", content)
	}
	if _, err := os.Stat(filepath.Join(dir, "deps")); err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(dir, "sums"))
	if err != nil {
		return err
	}
	n := 0
	for lines := bufio.NewScanner(bytes.NewReader(sums)); lines.Scan(); n++ {
		sum, name, _ := strings.Cut(lines.Text(), "  ")
		part, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(part)); got != sum {
			return fmt.Errorf("%s has another content than was built", name)
		}
	}
	if n != parts {
		return fmt.Errorf("it has %d parts of %d", n, parts)
	}
	return nil
}

// end checks what was seen, once all of it was.
func (w *watcher) end(revisions map[string]int) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.ending, "end"), nil, 0o600); err != nil {
		w.t.Fatal(err)
	}
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	for digest, inode := range w.inodes {
		w.whole(digest)
		if now := w.inode(digest); now != inode {
			w.t.Errorf("I3: generation %s was replaced: inode %d, before %d", digest, now, inode)
		}
	}
	for link, targets := range w.pointers {
		highest := 0
		for _, digest := range targets {
			if n := revisions[digest]; n < highest {
				w.t.Errorf("I6: pointer %s went back to revision %d after %d: %v", link, n, highest, targets)
			} else {
				highest = n
			}
		}
		target, err := os.Readlink(link)
		if last := targets[len(targets)-1]; err != nil || filepath.Base(target) != last {
			w.t.Errorf("I6: pointer %s leads to %s (%v), want %s", link, target, err, last)
		}
	}
}

// pointer is the generation that a pack's pointer leads to.
func (w *watcher) pointer(pack string) string {
	target, err := os.Readlink(filepath.Join(w.root, pack, "sh"))
	if err != nil {
		w.t.Error(err)
	}
	return filepath.Base(target)
}

// visible are the generations that anybody can see.
func (w *watcher) visible() []string {
	entries, err := os.ReadDir(filepath.Join(w.root, ".store"))
	if err != nil {
		w.t.Error(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
